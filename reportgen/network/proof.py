"""What is handed over compared with what the model computes when nobody watches.

Of each report the output of its first walk is compared with that of a plain call of the model. When it is asked
for, each node is compared with a second result, too (see `recomputing`).
"""

from collections.abc import Set
from typing import Any, Protocol

import torch
from torch import nn

from reportgen.entities import Activation, Batch, Layer
from reportgen.errors import lacks_memory, shortage
from reportgen.network.base import Precision, Provable, Walk
from reportgen.network.comparison import DIFFERENT, UNKNOWN, Check, compared, spare, worst
from reportgen.network.isolation import rehearsing
from reportgen.network.recomputing import Recomputed
from reportgen.parts import flatten


class Witness(Protocol):
    """Who is told how the comparisons came out."""

    output: Check | None
    """How the walk's output compares with the model's; None until it was compared."""

    def add_check(self, layer: Layer, check: Check) -> None:
        """Take note of how one node's value for one batch compares with its second result."""
        ...


class ProvedNetwork:
    """A network whose walks are compared with what `module` computes: the output, and with `prove` each node.

    A node is what the walk hands over: a call of a module or of a function, an operation, a part of what one of
    these returned. Inside it nothing is compared. What can't be computed twice (it reads an iterator, say) is
    UNKNOWN, with the reason; inputs and parameters are compared with copies of themselves. A second run has the
    first one's random numbers and leaves no trace in modules; what a function writes elsewhere it writes twice.

    The plain call draws the random numbers that the walk draws, and what it writes to is put back.
    """

    def __init__(
        self, network: Provable, module: nn.Module, precision: Precision, witness: Witness, *, prove: bool = False
    ) -> None:
        self._network, self._module, self._precision = network, module, precision
        self._witness, self._prove = witness, prove
        self.layers, self.outputs = network.layers, network.outputs
        self.tracer, self.tracer_reason = network.tracer, network.tracer_reason
        self.differences = network.differences

    def module_of(self, layer: Layer) -> nn.Module | None:
        return self._network.module_of(layer)

    def walk(self, batch: Batch, wanted: Set[str] | None = None) -> Walk:
        """See `base.Network.walk`."""
        first = self._witness.output is None
        plain = _plain_output(self._module, batch, self._precision) if first else {}
        output = yield from self._events(batch, wanted)
        if first:
            self._witness.output = _compared(output, plain)
        return output

    def _events(self, batch: Batch, wanted: Set[str] | None) -> Walk:
        return self._checked(batch, wanted) if self._prove else self._network.walk(batch, wanted)

    def _checked(self, batch: Batch, wanted: Set[str] | None) -> Walk:
        recomputed = Recomputed(wanted)
        events = self._network.walk(batch, wanted, recomputed)
        while True:
            try:
                event = next(events)
            except StopIteration as ended:
                return ended.value
            if isinstance(event, Activation):
                self._witness.add_check(event.layer, recomputed.check(event.layer.name, event.value))
            yield event
            del event  # borrowed: its memory is given back in time


@torch.no_grad()
def _plain_output(module: nn.Module, batch: Batch, precision: Precision) -> dict[str, torch.Tensor] | str:
    """Copies of the tensors that the model returns, by name; what it raised, if it does."""
    lent = spare(batch)
    try:
        with rehearsing(module), precision():
            output = module(*lent.arguments, **lent.kwargs)
            return {name: tensor.clone() for name, tensor in flatten(output)}
    except Exception as error:
        if lacks_memory(error):
            raise shortage("while the model was run", error) from error
        return f"the model raised {type(error).__name__}"


def _compared(output: Any, plain: dict[str, torch.Tensor] | str) -> Check:
    if isinstance(plain, str):
        return Check(UNKNOWN, plain)
    if output is None:
        return Check(UNKNOWN, "the walk did not come to the model's output")
    found = dict(flatten(output))
    if found.keys() != plain.keys():
        return Check(DIFFERENT, f"{len(found)} tensors instead of {len(plain)}, or by other names")
    if not found:
        return Check(UNKNOWN, "the model returns no tensor")
    return worst(compared(found[name], plain[name], name) for name in found)
