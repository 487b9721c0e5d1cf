"""The walk: one node's value at a time, each as the network computed it.

The stream is pulled. The next node can't run until the consumer asks for it, so a value is handed over before a
later operation can overwrite it in place; nothing is cloned, and a value is dropped after its last use.
"""

from collections.abc import Generator, Iterable, Iterator, Set
from typing import Any

import torch
from torch import fx

from reportgen.entities import Activation, Batch, Failure
from reportgen.network.graph import Network
from reportgen.network.layout import LayoutReader


@torch.no_grad()  # as a decorator: inside a generator, a with statement would leak into the consumer
def walk(
    network: Network, batch: Batch, wanted: Set[str] | None = None
) -> Generator[Activation | Failure, None, Any]:
    """Run `network` on `batch`; yield each wanted node (default: all) as soon as it is computed.

    A node that raises becomes a Failure, and so does each that reads it; all others still run. Returns (as the
    generator's value) what the model itself returns, or None when its output could not be computed.

    The model must be in eval mode (`graph.evaluating`).
    """
    interpreter = fx.Interpreter(network.root, graph=network.graph)
    interpreter.args_iter = iter([batch.tensor])
    layouts = LayoutReader(network.root)
    failed: dict[fx.Node, str] = {}
    for node in network.graph.nodes:
        layer = network.layer_of.get(node)
        reason = _run(interpreter, node, failed)
        if node.op == "output":
            return interpreter.env.get(node)
        if layer is not None and (wanted is None or layer.name in wanted):
            if reason:
                yield Failure(layer, batch.images, reason)
            else:
                value = interpreter.env[node]
                yield Activation(layer, batch.images, value, layouts.read(node, value, len(batch.tensor)))
                del value
        elif not reason:
            layouts.read(node, interpreter.env[node], len(batch.tensor))
        _forget(interpreter, node)
    return None


def _run(interpreter: fx.Interpreter, node: fx.Node, failed: dict[fx.Node, str]) -> str:
    """Run one node into the interpreter's environment; return why it failed, or an empty string."""
    broken = next((parent for parent in node.all_input_nodes if parent in failed), None)
    if broken is not None:
        failed[node] = failed[broken]
        return f"it reads a node that failed: {failed[broken]}"
    try:
        interpreter.env[node] = interpreter.run_node(node)
    except Exception as error:  # noqa: BLE001 - a node runs the user's code; one bad node never stops a report
        failed[node] = f"{node.name} raised {type(error).__name__}: {' '.join(str(error).split())}"
        return failed[node]
    return ""


def _forget(interpreter: fx.Interpreter, node: fx.Node) -> None:
    for last_used in interpreter.user_to_last_uses.get(node, ()):
        interpreter.env.pop(last_used, None)


def stream(
    network: Network, batches: Iterable[Batch], wanted: Set[str] | None = None
) -> Iterator[Activation | Failure]:
    """Walk each batch in turn; see `walk`."""
    for batch in batches:
        yield from walk(network, batch, wanted)
