"""Which modules and functions are one node, and which are opened: the same for both streams."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torchvision
from torch import nn


@dataclass(frozen=True)
class Leaves:
    """Further classes and functions that are one node each."""

    classes: tuple[type[nn.Module], ...] = ()
    functions: tuple[Callable[..., Any], ...] = ()


_COMPOSITE = frozenset(
    {
        torchvision.ops.Conv2dNormActivation,
        torchvision.ops.Conv3dNormActivation,
        torchvision.ops.FeaturePyramidNetwork,
        torchvision.ops.MLP,
        torchvision.ops.SqueezeExcitation,
    }
)


def is_leaf(module: nn.Module, *, deep: bool = False) -> bool:
    """Whether a module is one node: torch.nn's but for Sequential; torchvision.ops' unless `deep`."""
    home = type(module).__module__
    own = home.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(module, nn.Sequential)
    return own or isinstance(module, (*vision_classes(deep), torch.jit.ScriptModule))


@cache
def vision_classes(deep: bool) -> tuple[type[nn.Module], ...]:
    """torchvision's own leaves: every module class of torchvision.ops; when `deep`, only the atomic ones."""
    classes = [cls for _, cls in inspect.getmembers(torchvision.ops, inspect.isclass) if issubclass(cls, nn.Module)]
    return tuple(cls for cls in classes if not (deep and cls in _COMPOSITE))
