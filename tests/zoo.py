"""The zoo: architectures that reports must be made of, each with random weights and a small input.

Nothing is loaded until an exhibit is asked for its specimen, and nothing is downloaded.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Specimen:
    """A model in eval mode and what it is called with."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tensor(self) -> torch.Tensor:
        """The images: the first tensor that the model is called with."""
        first = (*self.args, *self.kwargs.values())[0]
        tensor: torch.Tensor = first[0].unsqueeze(0) if isinstance(first, list) else first
        return tensor


@dataclass(frozen=True)
class Exhibit:
    """An entry of the zoo: `source` is torchvision, timm or transformers, `family` its module there."""

    source: str
    name: str
    family: str
    make: Callable[[], Specimen]
    large: bool = False
    """Takes gigabytes or a long time: not to be walked with others beside it."""

    def load(self, seed: int = 0) -> Specimen:
        """Build the model, always with the same weights and inputs for the same `seed`."""
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            specimen = self.make()
            stir(specimen.module)
        specimen.module.eval()
        return specimen


@torch.no_grad()
def stir(module: nn.Module) -> None:
    """Add a little noise to the parameters that are constant.

    Biases and class tokens begin at 0, scales at 1 or next to 0: half of such a network is the identity, and a
    value that was taken at the wrong place would go unnoticed.
    """
    for parameter in module.parameters():
        if parameter.is_floating_point() and parameter.numel() > 1 and parameter.amin() == parameter.amax():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


SOURCES = ("torchvision", "timm", "transformers")


def exhibits(source: str = "", pattern: str = "") -> list[Exhibit]:
    """Every exhibit of a source (all sources by default) whose name or family contains `pattern`."""
    chosen = [found for name in SOURCES if source in ("", name) for found in _list(name)]
    return [found for found in chosen if pattern in found.name or pattern in found.family]


def _list(source: str) -> list[Exhibit]:
    """The exhibits of one source; only now is it imported."""
    found: list[Exhibit] = importlib.import_module(f"zoo_{source}").EXHIBITS
    return found


def exhibit(source: str, name: str) -> Exhibit:
    """The one exhibit of this name."""
    return next(found for found in _list(source) if found.name == name)
