"""A model becomes a graph of named layers, and patterns select among them."""

import fnmatch
import inspect
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision
from torch import fx, nn

from reportgen.entities import Layer
from reportgen.errors import InputError, UsageError
from reportgen.names import did_you_mean, slugify

_NUMBERED = re.compile(r"(.+)_[0-9]+")


@dataclass(frozen=True)
class Network:
    """A traced model: the root that holds parameters, the graph, and a layer for each named node."""

    root: nn.Module
    graph: fx.Graph
    layers: tuple[Layer, ...]
    layer_of: Mapping[fx.Node, Layer]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the nodes whose values the model returns."""
        returned = [node for node in self.graph.nodes if node.op == "output"]
        parts = [part for node in returned for part in node.all_input_nodes]
        return tuple(self.layer_of[part].name for part in parts if part in self.layer_of)


def trace(module: nn.Module, *, deep: bool = False) -> Network:
    """Trace `module` as it is in eval mode; the module itself comes back unchanged.

    Nodes are named as `torchvision.models.feature_extraction.get_graph_node_names` names them (module path,
    operation, `_1` for the first repeat), except that a module whose own name ends in `_<number>` keeps it.
    `deep` opens torchvision's composite blocks (`Conv2dNormActivation`, `SqueezeExcitation`, `MLP` ...).

    Raises InputError when torch.fx can't trace the model.
    """
    tracer = _PathTracer(_leaf_classes(deep))
    with evaluating(module), _attributes_restored(module):
        try:
            graph = tracer.trace(module)
        except Exception as error:
            raise InputError(_trace_message(module, error)) from error
        root = fx.GraphModule(tracer.root, graph)
    layer_of = _layers(module, tracer.path_of)
    return Network(root, graph, tuple(layer_of.values()), layer_of)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put `module` in eval mode, and every submodule's training flag back afterwards."""
    flags = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in flags:
            child.training = training


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Put `module` in eval mode; afterwards its training flags, its buffers and the random state are as before."""
    with RandomState().inside(), buffers_kept(module), evaluating(module):
        yield


class RandomState:
    """The random numbers that a model draws: the same in each report, and apart from everybody else's.

    Torch's, NumPy's and Python's own generators, all from one seed. Between two `inside`, everybody else's state
    is as they left it.
    """

    def __init__(self, seed: int = 0) -> None:
        with self._kept():
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            self._own = self._get()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Draw from here, going on where the last `inside` ended."""
        with self._kept():
            self._set(self._own)
            try:
                yield
            finally:
                self._own = self._get()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        before = self._get()
        try:
            yield
        finally:
            self._set(before)

    @staticmethod
    def _get() -> tuple[Any, ...]:
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        return torch.get_rng_state(), gpus, np.random.get_state(), random.getstate()

    @staticmethod
    def _set(state: tuple[Any, ...]) -> None:
        torch.set_rng_state(state[0])
        if state[1]:
            torch.cuda.set_rng_state_all(state[1])
        np.random.set_state(state[2])
        random.setstate(state[3])


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """Put back, afterwards, the values of buffers that a forward pass writes to (counters, running means)."""
    before = [(plain, plain.clone()) for plain in map(_without_repeats, module.buffers())]
    try:
        yield
    finally:
        _copy_back(before)


def _without_repeats(buffer: torch.Tensor) -> torch.Tensor:
    """A view of an expanded buffer that has each of its elements once."""
    plain = buffer.detach()
    for axis, stride in enumerate(plain.stride()):
        if stride == 0 and plain.shape[axis] > 1:
            plain = plain.narrow(axis, 0, 1)
    return plain


@torch.no_grad()
def _copy_back(values: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for tensor, value in values:
        tensor.copy_(value)


@contextmanager
def _attributes_restored(module: nn.Module) -> Iterator[None]:
    """Undo what tracing leaves on the modules: constants of torch.fx, and attributes that `forward` sets."""
    before = [(child, dict(vars(child))) for child in module.modules()]
    try:
        yield
    finally:
        for child, attributes in before:
            vars(child).clear()
            vars(child).update(attributes)


def _trace_message(module: nn.Module, error: Exception) -> str:
    return (
        f"{type(module).__name__}: torch.fx can't trace this model ({type(error).__name__}: {error}); "
        "give a model whose forward has no control flow that depends on tensors, or mark the function "
        "with torch.fx.wrap"
    )


class _PathTracer(fx.Tracer):
    """An fx.Tracer that keeps, for each node made from a proxy, the path of the module it was made in.

    Nodes that torch.fx makes without a proxy (buffers and other constants that are read) get no path: they are
    attributes of the model rather than something it computed.
    """

    def __init__(self, leaf_classes: tuple[type[nn.Module], ...]) -> None:
        super().__init__(autowrap_modules=(math, torchvision.ops))  # type: ignore[arg-type]  # a stub of one
        self.path_of: dict[fx.Node, str] = {}
        self._leaf_classes = leaf_classes
        self._path = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaf_classes) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        outer, self._path = self._path, self.path_of_module(m)
        try:
            if self.is_leaf_module(m, self._path):
                return self.create_proxy("call_module", self._path, args, kwargs)
            return forward(*args, **kwargs)
        finally:
            self._path = outer

    def create_proxy(self, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy = super().create_proxy(*args, **kwargs)
        self.path_of[proxy.node] = self._path
        return proxy


def _leaf_classes(deep: bool) -> tuple[type[nn.Module], ...]:
    """torchvision's own leaves: every module class of torchvision.ops; when `deep`, only the atomic ones."""
    classes = [cls for _, cls in inspect.getmembers(torchvision.ops, inspect.isclass) if issubclass(cls, nn.Module)]
    return tuple(cls for cls in classes if not (deep and cls in _COMPOSITE))


_COMPOSITE = frozenset(
    {
        torchvision.ops.Conv2dNormActivation,
        torchvision.ops.Conv3dNormActivation,
        torchvision.ops.FeaturePyramidNetwork,
        torchvision.ops.MLP,
        torchvision.ops.SqueezeExcitation,
    }
)


def _layers(module: nn.Module, path_of: Mapping[fx.Node, str]) -> dict[fx.Node, Layer]:
    """Return the layer of each named node, in execution order."""
    names = dict(zip(path_of, _node_names(path_of), strict=True))
    return {
        node: Layer(
            index=index,
            name=names[node],
            slug=slugify(names[node]),
            op=node.op,
            target=_target_name(node),
            module_type=_module_type(module, node),
            parents=tuple(names[parent] for parent in node.all_input_nodes if parent in names),
            detail=_detail(module, node),
        )
        for index, node in enumerate(path_of)
    }


def _node_names(path_of: Mapping[fx.Node, str]) -> list[str]:
    """Name the nodes: module path, operation, and `_<count>` from the second node of the same name on.

    torch.fx numbers operations over the whole graph, so its number is cut off first; a module's name is its
    target, number and all, and such a name is never given to another node.
    """
    taken = {str(node.target) for node in path_of if node.op == "call_module"}
    taken = {name for name in taken if _NUMBERED.fullmatch(name)}
    names: list[str] = []
    calls: dict[str, int] = {}
    for node, path in path_of.items():
        base = _base_name(node, path)
        call = calls.get(base, 0)
        name = f"{base}_{call}" if call else base
        while call and name in taken:
            call += 1
            name = f"{base}_{call}"
        calls[base] = call + 1
        taken.add(name)
        names.append(name)
    return names


def _base_name(node: fx.Node, path: str) -> str:
    if node.op == "call_module":
        return path
    numbered = _NUMBERED.fullmatch(node.name)
    name = numbered[1] if numbered else node.name
    return f"{path}.{name}" if path else name


def _target_name(node: fx.Node) -> str:
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", str(node.target))
    home = getattr(node.target, "__module__", None) or ""
    return f"{home}.{name}".lstrip(".")


def _module_type(module: nn.Module, node: fx.Node) -> str:
    return type(module.get_submodule(str(node.target))).__name__ if node.op == "call_module" else ""


def _detail(module: nn.Module, node: fx.Node) -> str:
    return describe(module.get_submodule(str(node.target))) if node.op == "call_module" else ""


def describe(module: nn.Module) -> str:
    """Say what a module is set to, from the attributes torch.nn gives it: channels, kernel, stride ..."""
    facts = [_channels(module), *_kernel(module)]
    dilation, groups = getattr(module, "dilation", 1), getattr(module, "groups", 1)
    if _pair(dilation) not in ("1", "1 × 1", "1 × 1 × 1"):
        facts.append(f"dilation {_pair(dilation)}")
    if groups != 1:
        facts.append(f"{groups} groups")
    return ", ".join(fact for fact in facts if fact)


def _channels(module: nn.Module) -> str:
    for unit in ("channels", "features"):
        before, after = getattr(module, f"in_{unit}", None), getattr(module, f"out_{unit}", None)
        if isinstance(before, int) and isinstance(after, int):
            return f"{before} to {after} {unit}"
    features = getattr(module, "num_features", None)
    return f"{features} channels" if isinstance(features, int) else ""


def _kernel(module: nn.Module) -> list[str]:
    if not hasattr(module, "kernel_size"):
        return []
    facts = [f"{_pair(module.kernel_size)} kernel"]
    if getattr(module, "stride", None) is not None:
        facts.append(f"stride {_short_pair(module.stride)}")
    return facts


def _pair(size: object) -> str:
    if isinstance(size, int):
        return f"{size} × {size}" if size > 1 else str(size)
    return " × ".join(map(str, size)) if isinstance(size, Sequence) else str(size)


def _short_pair(size: object) -> str:
    if isinstance(size, Sequence) and len(set(size)) == 1:
        return str(size[0])
    return _pair(size) if not isinstance(size, int) else str(size)


@dataclass(frozen=True)
class Selection:
    """The layers to draw, and the titles (aliases) that some of them bear."""

    names: frozenset[str]
    titles: Mapping[str, str]


def select(
    layers: Sequence[Layer],
    nodes: Mapping[str, str] | None = None,
    exclude: Sequence[str] = (),
) -> Selection:
    """Select layers by pattern; no pattern means every layer.

    A pattern is a node's exact name, a module's path (meaning the last node inside it, as torchvision has it),
    or a glob (`layer1.*`; `*` also spans dots). `nodes` maps each pattern to a title, `""` for none.

    Raises UsageError for a pattern that matches nothing, with the nearest names, and when nothing is left.
    """
    known = [layer.name for layer in layers]
    titles: dict[str, str] = {}
    for pattern, title in (nodes or {}).items():
        for name in _matches(pattern, known):
            titles[name] = title or titles.get(name, "")
    names = set(titles) if nodes else set(known)
    for pattern in exclude:
        names.difference_update(_matches(pattern, known))
    if not names:
        raise UsageError("no node is left to draw: --exclude takes away all that --nodes selects")
    return Selection(frozenset(names), {name: title for name, title in titles.items() if title})


def _matches(pattern: str, known: Sequence[str]) -> list[str]:
    if pattern in known:
        return [pattern]
    inside = [name for name in known if name.startswith(f"{pattern}.")]
    if inside:
        return [inside[-1]]
    found = fnmatch.filter(known, pattern) if any(sign in pattern for sign in "*?[") else []
    if not found:
        raise UsageError(
            f"no node matches '{pattern}'; {did_you_mean(pattern, _candidates(known))} "
            "`reportgen nodes MODEL` lists them all"
        )
    return found


def _candidates(known: Sequence[str]) -> list[str]:
    """Every node name and every module path that leads to one."""
    paths = {name.rsplit(".", depth)[0] for name in known for depth in range(1, name.count(".") + 1)}
    return sorted({*known, *paths})


def count_parameters(module: nn.Module) -> int:
    """Return how many parameters `module` has, each shared one counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def device_and_dtype(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where the first parameter lives and its floating dtype (CPU, float32 when there is none)."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    return torch.device("cpu"), torch.float32
