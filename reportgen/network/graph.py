"""A model becomes a graph of named layers, by torch.fx."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torchvision
from torch import fx, nn

from reportgen.entities import Layer
from reportgen.errors import InputError
from reportgen.names import slugify
from reportgen.network.isolation import attributes_kept, evaluating
from reportgen.network.leaves import Leaves, is_leaf, vision_classes
from reportgen.network.naming import Namer, base_name


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

    @property
    def wrapped(self) -> tuple[Callable[..., Any], ...]:
        """The Python functions that are one node because torch.fx was told to wrap them."""
        targets = [node.target for node in self.graph.nodes if node.meta.get("is_wrapped")]
        return tuple(dict.fromkeys(target for target in targets if isinstance(target, FunctionType)))

    def closed(self, leaves: Leaves) -> Mapping[str, int]:
        """How many nodes are wrapped functions and modules of `leaves`, whose operations are no nodes, by name."""
        functions, names = set(self.wrapped), Counter[str]()
        for node in self.graph.nodes:
            if node.op == "call_module":
                module = self.root.get_submodule(str(node.target))
                names[type(module).__name__] += isinstance(module, leaves.classes) and not is_leaf(module)
            elif node.op == "call_function" and node.target in functions:
                names[node.target.__name__] += 1
        return +names


def trace(module: nn.Module, *, deep: bool = False, leaves: Leaves | None = None) -> Network:
    """Trace `module` as it is in eval mode; the module itself comes back unchanged.

    Nodes are named as `torchvision.models.feature_extraction.get_graph_node_names` names them (module path,
    operation, `_1` for the first repeat), except that a module whose own name ends in `_<number>` keeps it.
    `deep` opens torchvision's composite blocks (`Conv2dNormActivation`, `SqueezeExcitation`, `MLP` ...). `leaves`
    are classes and functions of the model's own package that it declares to be one node each.

    Raises InputError when torch.fx can't trace the model.
    """
    tracer = _PathTracer(deep, leaves or Leaves())
    with evaluating(module), attributes_kept(module):
        try:
            graph = tracer.trace(module)
            root = fx.GraphModule(tracer.root, graph)  # writes code, which a quote in a module's name breaks
        except Exception as error:
            raise InputError(_trace_message(module, error)) from error
    layer_of = _layers(module, tracer.path_of)
    return Network(root, graph, tuple(layer_of.values()), layer_of)


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

    def __init__(self, deep: bool, leaves: Leaves) -> None:
        super().__init__(
            autowrap_modules=(math, torchvision.ops),  # type: ignore[arg-type]  # a stub of one
            autowrap_functions=leaves.functions,
        )
        self.path_of: dict[fx.Node, str] = {}
        # Found before tracing, which puts functions in the place of torchvision.ops' classes.
        self._deep, self._classes = deep, (*vision_classes(deep), *leaves.classes)
        self._path = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._classes) or is_leaf(m, deep=self._deep)

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
    """Name the nodes; torch.fx numbers operations over the whole graph, so its number is cut off first."""
    namer = Namer(str(node.target) for node in path_of if node.op == "call_module")
    return [namer.name(_base_name(node, path)) for node, path in path_of.items()]


def _base_name(node: fx.Node, path: str) -> str:
    return path if node.op == "call_module" else base_name(path, node.name)


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
