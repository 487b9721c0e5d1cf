"""Which stream a model gets: torch.fx, torch.fx with the model package's own leaves, or the eager one."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reportgen.entities import Batch, Failure
from reportgen.errors import InputError, lacks_memory, shortage
from reportgen.network.base import Provable, Settings
from reportgen.network.capture import GraphNetwork
from reportgen.network.comparison import agree, spare
from reportgen.network.eager import EagerNetwork
from reportgen.network.footprint import Footprint
from reportgen.network.graph import trace
from reportgen.network.isolation import attributes_kept, untouched
from reportgen.network.leaves import Leaves


@dataclass(frozen=True)
class _Refusal:
    """Why torch.fx can't trace a model."""

    reason: str


def trace_model(
    module: nn.Module, batch: Batch, *, tracer: str = "auto", deep: bool = False, settings: Settings | None = None
) -> Provable:
    """Return the network of `module`, in eval mode, as `tracer` (auto, fx or eager) has it.

    auto tries torch.fx, then torch.fx with the leaves that timm declares for its models, then the eager stream,
    which runs the model once on `batch`. Raises InputError when fx is asked for and can't, or when the model can't
    be run on `batch`.
    """
    traced = _graph(module, batch, tracer, deep, settings)
    if tracer == "eager":
        return _as_asked(traced, module, batch, deep, settings)
    if isinstance(traced, GraphNetwork):
        return traced
    return _eager(module, batch, f"{traced.reason}; the model was run as it is", deep, settings)


def _graph(
    module: nn.Module, batch: Batch, tracer: str, deep: bool, settings: Settings | None
) -> GraphNetwork | _Refusal:
    """The model as torch.fx has it, where it can, and where that does what the model does."""
    refusal = _why_no_graph(batch) if tracer != "fx" else None
    with untouched(module):  # arithmetic on buffers is done while torch.fx traces
        traced = refusal or _traced(module, deep, settings, tracer)
    footprint = settings.footprint if settings else None
    misled = None
    if isinstance(traced, GraphNetwork) and (tracer != "fx" or footprint):
        misled = _why_misled(traced, module, batch, footprint)
    return misled if misled and tracer != "fx" else traced


def _as_asked(
    traced: GraphNetwork | _Refusal, module: nn.Module, batch: Batch, deep: bool, settings: Settings | None
) -> EagerNetwork:
    """The eager stream, with the nodes of torch.fx where that can trace the model itself."""
    asked = "the eager stream was asked for"
    if isinstance(traced, _Refusal):
        return _eager(module, batch, f"{asked}; {traced.reason}", deep, settings)
    # `deep` asks to see inside, which torch.fx can't.
    mirrored = Leaves(functions=() if deep else traced.wrapped)
    told = f"{asked}; torch.fx can trace the model, too, so that nodes are named as there"
    try:
        network = _eager(module, batch, told, deep, settings, mirrored)
    except InputError:
        network = None
    if network is not None and network.whole:
        return network
    return _eager(
        module, batch, asked, deep, settings
    )  # the model minds what stands for its sizes, or fails anyway


def _eager(
    module: nn.Module,
    batch: Batch,
    reason: str,
    deep: bool,
    settings: Settings | None,
    mirrored: Leaves | None = None,
) -> EagerNetwork:
    with untouched(module):  # the pass that learns leaves no trace in those that are shown
        return EagerNetwork(module, spare(batch), reason, deep=deep, settings=settings, mirrored=mirrored)


def _why_no_graph(batch: Batch) -> _Refusal | None:
    if batch.kwargs:
        return _Refusal("the model is called by keyword")
    lone = all(isinstance(argument, torch.Tensor) for argument in batch.arguments)
    return None if lone else _Refusal("the model is called with a list of pictures")


def _traced(module: nn.Module, deep: bool, settings: Settings | None, tracer: str) -> GraphNetwork | _Refusal:
    try:
        network = trace(module, deep=deep)
    except InputError as error:
        cause = error.__cause__ or error
        refusal = _Refusal(f"torch.fx can't trace it ({type(cause).__name__}: {_first_line(cause)})")
        with_leaves = _traced_with_leaves(module, deep, settings, refusal) if tracer != "eager" else None
        if with_leaves is None and tracer == "fx":
            raise
        return with_leaves or refusal
    told = "torch.fx traced the whole forward pass" + _told_closed(
        network.closed(Leaves()), "--tracer eager --deep"
    )
    return GraphNetwork(network, told, settings)


def _traced_with_leaves(
    module: nn.Module, deep: bool, settings: Settings | None, refusal: _Refusal
) -> GraphNetwork | None:
    """The model as torch.fx has it with the leaves of timm; None where it is not timm's, or that is not enough."""
    leaves = _timm_leaves(module)
    if leaves is None:
        return None
    try:
        network = trace(module, deep=deep, leaves=leaves)
    except InputError:
        return None
    told = f"{refusal.reason}, but with the leaves that timm declares for it"
    return GraphNetwork(network, told + _told_closed(network.closed(leaves), "--tracer eager"), settings)


def _told_closed(closed: Mapping[str, int], option: str) -> str:
    """Say which nodes are not opened, and the option that opens them; nothing where there are none."""
    if not closed:
        return ""
    nodes = sum(closed.values())
    names = ", ".join(f"{name} × {count}" if count > 1 else name for name, count in closed.items())
    what = f"what {nodes} nodes do" if nodes > 1 else "what one node does"
    return f"; {what} inside ({names}) is not shown, `{option}` shows it"


def _why_misled(
    network: GraphNetwork, module: nn.Module, batch: Batch, footprint: Footprint | None
) -> _Refusal | None:
    """Why the graph is not the model: on the first image it raises where the model doesn't, or returns otherwise.

    torch.fx can take a number that depends on the input for a constant, and an argument with a default for given.
    None where the two agree, or where the model itself raises.
    """
    first = batch if batch.args is not None else Batch(batch.images[:1], batch.tensor[:1])
    with untouched(module):
        failure, output = _walk(network, spare(first), footprint)
    lent = spare(first)
    try:
        with untouched(module), attributes_kept(module), torch.no_grad(), network.precision():
            expected = module(*lent.arguments, **lent.kwargs)
    except Exception as error:
        if lacks_memory(error):
            raise shortage("while the model was run", error) from error
        return None
    if failure is not None:
        return _Refusal(f"the graph that torch.fx traced can't be run ({failure.reason})")
    return None if agree(output, expected) else _Refusal("the graph that torch.fx traced returns something else")


def _walk(network: GraphNetwork, batch: Batch, footprint: Footprint | None) -> tuple[Failure | None, Any]:
    """Run a graph to its end or its first failure, and return that and what the graph returned."""
    if footprint:
        footprint.begin(len(batch.tensor))
    events = network.walk(batch)
    while True:
        try:
            event = next(events)
        except StopIteration as ended:
            return None, ended.value
        if isinstance(event, Failure):
            events.close()
            return event, None
        if footprint:
            footprint.add(event.layer.name, event.value, event.reading)


def _first_line(error: BaseException) -> str:
    line = str(error).strip().partition("\n")[0].rstrip(".")
    return line if len(line) <= 120 else f"{line[:117]}..."


def _timm_leaves(module: nn.Module) -> Leaves | None:
    """The modules and functions that timm lists as not traceable; None for models of others."""
    if not any(type(child).__module__.startswith("timm.") for child in module.modules()):
        return None
    try:
        features = importlib.import_module("timm.models._features_fx")
    except ImportError:
        return None
    return Leaves(tuple(features.get_notrace_modules()), tuple(features.get_notrace_functions()))
