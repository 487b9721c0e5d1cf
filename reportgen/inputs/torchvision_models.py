"""torchvision's models and weights: found by name, built, and recognised."""

import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch.hub
import torchvision.models
from torch import nn

from reportgen.errors import InputError
from reportgen.inputs.weights import StateDict, load_into, misshapen, seeded, weights_only
from reportgen.names import did_you_mean

_TIMEOUT = 20.0
_HASH = re.compile(r"-([0-9a-f]{8,64})\.")
_NOT_FOR_PICTURES = {"VideoClassification": "video clips", "OpticalFlow": "pairs of pictures"}


@dataclass(frozen=True)
class TorchvisionModel:
    """One of torchvision's models: its builder and the weights there are for it."""

    name: str
    builder: Callable[..., nn.Module]
    known: dict[str, Any]
    default: Any

    @classmethod
    def find(cls, name: str) -> "TorchvisionModel":
        """Raises InputError for a name torchvision doesn't know, or a model that takes no single pictures."""
        names = torchvision.models.list_models()
        if name not in names:
            hint = did_you_mean(name.lower(), names) or "write path/to/file.py:factory for a model of your own"
            raise InputError(f"model {name}: unknown to torchvision {torchvision.__version__}; {hint}")
        found = cls(name, torchvision.models.get_model_builder(name), *_weights_of(name))
        takes = _NOT_FOR_PICTURES.get(type(found.default.transforms()).__name__)
        if takes:
            raise InputError(
                f"model {name}: takes {takes}, not single pictures; from Python, pass the module and tensors"
            )
        return found

    def weights(self, name: str | None) -> Any:
        """Return the weights called `name`, by default the DEFAULT ones; InputError when unknown."""
        if name is None or name == "DEFAULT":
            return self.default
        if name not in self.known:
            choices = ", ".join(["DEFAULT", *self.known])
            raise InputError(f"model {self.name}: no weights {name}; there are {choices}")
        return self.known[name]

    def recognise(self, sha256: str) -> Any | None:
        """Return the weights whose published checkpoint has this hash; its address holds the first digits."""
        starts = ((member, _HASH.search(member.url)) for member in self.known.values())
        return next((member for member, start in starts if start and sha256.startswith(start[1])), None)

    def build_trained(self, weights: Any) -> nn.Module:
        """Build the model with torchvision's own weights, downloaded unless torch's hub directory has them.

        Raises InputError, with both ways out, when they can't be had.
        """
        try:
            with _timeout(_TIMEOUT), weights_only():
                return self._build(weights=weights, progress=sys.stderr.isatty())
        except Exception as error:
            raise InputError(
                f"model {self.name}: its weights {weights.name} could not be had "
                f"({type(error).__name__}: {error}); "
                "give --weights none for random values, or --weights FILE for a checkpoint you have"
            ) from error

    def build_untrained(self, **config: Any) -> nn.Module:
        """Build the model with random values, the same ones each time."""
        if "weights_backbone" in signature(self.builder).parameters:
            config["weights_backbone"] = None
        return self._build(weights=None, **config)

    def build_with(self, state: StateDict, file: str, weights: Any | None) -> tuple[nn.Module, bool]:
        """Build the model and load a checkpoint into it; the flag says if its classes are the default's.

        A checkpoint with another number of classes gets a model with as many. `weights` are torchvision's
        that the checkpoint is known to be, if any. Raises InputError where the two don't fit.
        """
        config = self._config(state, weights)
        module = self.build_untrained(**config)
        count = _class_count(misshapen(module, state))
        if count is not None:
            module = self.build_untrained(**config, num_classes=count)
        load_into(module, state, file)
        if weights is not None and hasattr(module, "transform_input"):
            # As the builders of googlenet and inception do for torchvision's own weights.
            module.__dict__["transform_input"] = True
        return module, count is None

    def _config(self, state: StateDict, weights: Any | None) -> dict[str, Any]:
        """Return the builder's arguments that torchvision would derive from its own weights."""
        config: dict[str, Any] = {}
        if "aux_loss" in signature(self.builder).parameters:
            config["aux_loss"] = any("aux_classifier." in key for key in state)
        if weights is not None and self.name.startswith("vit_"):
            config["image_size"] = weights.meta["min_size"][0]
        return config

    def _build(self, **config: Any) -> nn.Module:
        with warnings.catch_warnings(), seeded():
            warnings.simplefilter("ignore")  # several announce that their way to initialise may change
            return self.builder(**config).eval()


def checkpoint_path(weights: Any) -> Path:
    """Return where torch.hub keeps the checkpoint of `weights`, whether or not it is there."""
    return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(weights.url).path).name


def _weights_of(name: str) -> tuple[dict[str, Any], Any]:
    """Return the weights by name, and the default ones. The quantizable models stay in floating point."""
    members = torchvision.models.get_model_weights(name)
    default = members.DEFAULT
    if "unquantized" in default.meta:
        default = default.meta["unquantized"]
    known = {alias: member for alias, member in type(default).__members__.items() if alias != "DEFAULT"}
    return known, default


def _class_count(wrong: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> int | None:
    """Return the checkpoint's number of classes, where that is all in which it differs from the model."""
    counts = {(found[:1], wanted[:1]) for found, wanted in wrong.values()}
    if len(counts) != 1 or any(found[1:] != wanted[1:] for found, wanted in wrong.values()):
        return None
    found, _ = counts.pop()
    return found[0] if found and found[0] > 0 else None


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Bound the wait for a silent server: torch.hub sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
