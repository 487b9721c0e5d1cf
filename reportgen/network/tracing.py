"""Which stream a model gets: torch.fx, torch.fx with the model package's own leaves, or the eager one."""

import importlib
from dataclasses import dataclass

import torch
from torch import nn

from reportgen.entities import Batch, Failure
from reportgen.errors import InputError
from reportgen.network.base import Network, Settings
from reportgen.network.capture import GraphNetwork
from reportgen.network.eager import EagerNetwork
from reportgen.network.graph import trace
from reportgen.network.isolation import untouched
from reportgen.network.leaves import Leaves


@dataclass(frozen=True)
class _Refusal:
    """Why torch.fx can't trace a model."""

    reason: str


def trace_model(
    module: nn.Module, batch: Batch, *, tracer: str = "auto", deep: bool = False, settings: Settings | None = None
) -> Network:
    """Return the network of `module`, in eval mode, as `tracer` (auto, fx or eager) has it.

    auto tries torch.fx, then torch.fx with the leaves that timm declares for its models, then the eager stream,
    which runs the model once on `batch`. Raises InputError when fx is asked for and can't, or when the model can't
    be run on `batch`.
    """
    if tracer == "eager":
        return _eager(module, batch, "the eager stream was asked for", deep, settings)
    refusal = _why_no_graph(batch) if tracer == "auto" else None
    with untouched(module):  # arithmetic on buffers is done while torch.fx traces
        traced = refusal or _traced(module, deep, settings, reraise=tracer == "fx")
    if isinstance(traced, GraphNetwork):
        misled = _why_misled(traced, module, batch) if tracer == "auto" else None
        if misled is None:
            return traced
        traced = misled
    return _eager(module, batch, f"{traced.reason}; the model was run as it is", deep, settings)


def _eager(module: nn.Module, batch: Batch, reason: str, deep: bool, settings: Settings | None) -> EagerNetwork:
    with untouched(module):  # the pass that learns leaves no trace in those that are shown
        return EagerNetwork(module, batch, reason, deep=deep, settings=settings)


def _why_no_graph(batch: Batch) -> _Refusal | None:
    if batch.kwargs:
        return _Refusal("the model is called by keyword")
    lone = all(isinstance(argument, torch.Tensor) for argument in batch.arguments)
    return None if lone else _Refusal("the model is called with a list of pictures")


def _traced(module: nn.Module, deep: bool, settings: Settings | None, *, reraise: bool) -> GraphNetwork | _Refusal:
    try:
        return GraphNetwork(trace(module, deep=deep), "torch.fx traced the whole forward pass", settings)
    except InputError as error:
        leaves = _timm_leaves(module)
        if leaves is not None:
            try:
                network = trace(module, deep=deep, leaves=leaves)
                told = "torch.fx traced the forward pass with the leaves that timm declares for it"
                return GraphNetwork(network, told, settings)
            except InputError:
                pass
        if reraise:
            raise
        cause = error.__cause__ or error
        return _Refusal(f"torch.fx can't trace it ({type(cause).__name__}: {_first_line(cause)})")


def _why_misled(network: GraphNetwork, module: nn.Module, batch: Batch) -> _Refusal | None:
    """Why the graph is not the model: an operation of it raises on the first image, and the model itself doesn't.

    torch.fx can take a number that depends on the input for a constant. None where the two agree.
    """
    first = Batch(batch.images[:1], batch.tensor[:1])
    if batch.args is not None:
        first = batch
    with untouched(module):
        failure = next((event for event in network.walk(first) if isinstance(event, Failure)), None)
        if failure is None:
            return None
        try:
            with torch.no_grad():
                module(*first.arguments, **first.kwargs)
        except Exception:  # noqa: BLE001 - the user's code: it is the model that fails, and its graph shows where
            return None
    return _Refusal(f"the graph that torch.fx traced can't be run ({failure.reason})")


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
