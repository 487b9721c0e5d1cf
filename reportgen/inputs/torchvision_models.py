"""torchvision's models and weights: found by name, built, and recognised."""

import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch.hub
import torchvision.models
from torch import nn
from torchvision.models import detection, optical_flow, video
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from reportgen.errors import InputError
from reportgen.inputs.builders import building
from reportgen.inputs.forms import LIST, PAIR, PICTURE, Form, clip
from reportgen.inputs.preprocess import Overrides, Preprocess, flow_preprocess, preset_preprocess, standard_with
from reportgen.inputs.weights import StateDict, class_count, load_into, misshapen, seeded, weights_only
from reportgen.names import did_you_mean

_TIMEOUT = 20.0
_NOTHING: Mapping[str, Any] = {}
_HASH = re.compile(r"-([0-9a-f]{8,64})\.")
_VIDEO: Mapping[type[nn.Module], Any] = {
    video.VideoResNet: video.R3D_18_Weights.DEFAULT,
    video.S3D: video.S3D_Weights.DEFAULT,
    video.MViT: video.MViT_V2_S_Weights.DEFAULT,
    video.SwinTransformer3d: video.Swin3D_T_Weights.DEFAULT,
}
"""Networks of video, with weights that say how frames are prepared."""
_CLIP = 16
"""Frames of a clip: what torchvision's video models were trained on, or a length that they all take."""


@dataclass(frozen=True)
class TorchvisionModel:
    """One of torchvision's models: its builder and the weights there are for it."""

    name: str
    builder: Callable[..., nn.Module]
    known: dict[str, Any]
    default: Any

    @classmethod
    def find(cls, name: str) -> "TorchvisionModel":
        """Raises InputError for a name torchvision doesn't know."""
        names = torchvision.models.list_models()
        if name not in names:
            hint = did_you_mean(name.lower(), names) or "write path/to/file.py:factory for a model of your own"
            raise InputError(f"model {name}: unknown to torchvision {torchvision.__version__}; {hint}")
        return cls(name, torchvision.models.get_model_builder(name), *_weights_of(name))

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

    def build_trained(self, weights: Any, arguments: Mapping[str, Any] = _NOTHING) -> nn.Module:
        """Build the model with torchvision's own weights, downloaded unless torch's hub directory has them.

        Weights in 8-bit integers give a quantised model. `arguments` are the user's for the builder. Raises
        InputError, with both ways out, when they can't be had; UsageError for an argument it doesn't take.
        """
        quantised = {"quantize": True} if is_quantised(weights) else {}
        given = {**quantised, **arguments, "weights": weights, "progress": sys.stderr.isatty()}
        with building(self.name, arguments, weights.name), _timeout(_TIMEOUT), weights_only():
            return self._build(**given)

    def build_untrained(self, arguments: Mapping[str, Any] = _NOTHING, **config: Any) -> nn.Module:
        """Build the model with random values, the same ones each time. Raises as `build_trained` does."""
        if "weights_backbone" in signature(self.builder).parameters:
            config["weights_backbone"] = None
        with building(self.name, arguments):
            return self._build(**{**arguments, **config, "weights": None})

    def build_with(
        self, state: StateDict, file: str, weights: Any | None, arguments: Mapping[str, Any] = _NOTHING
    ) -> tuple[nn.Module, bool]:
        """Build the model and load a checkpoint into it; the flag says if its classes are the default's.

        A checkpoint with another number of classes gets a model with as many. `weights` are torchvision's
        that the checkpoint is known to be, if any. Raises InputError where the two don't fit.
        """
        config = {**self._config(state, weights), **arguments}
        module = self.build_untrained(config)
        count = class_count(misshapen(module, state))
        if count is not None:
            module = self.build_untrained(config, num_classes=count)
        load_into(module, state, file)
        if weights is not None and hasattr(module, "transform_input"):
            # As the builders of googlenet and inception do for torchvision's own weights.
            module.__dict__["transform_input"] = True
        return module, count is None

    def _config(self, state: StateDict, weights: Any | None) -> dict[str, Any]:
        """Return the builder's arguments that torchvision would derive from its own weights."""
        config: dict[str, Any] = {"quantize": True} if weights is not None and is_quantised(weights) else {}
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


def is_quantised(weights: Any) -> bool:
    """Tell weights in 8-bit integers."""
    return "unquantized" in weights.meta


def _weights_of(name: str) -> tuple[dict[str, Any], Any]:
    """Return the weights by name, and the default ones, which of quantizable models are in floating point."""
    members = torchvision.models.get_model_weights(name)
    default = members.DEFAULT.meta.get("unquantized", members.DEFAULT)
    kinds = (type(default), members)
    known = {alias: member for kind in kinds for alias, member in kind.__members__.items() if alias != "DEFAULT"}
    return known, default


def form_of(module: nn.Module) -> Form:
    """Return the form in which a module takes pictures: torchvision's are known by their classes."""
    if isinstance(getattr(module, "transform", None), GeneralizedRCNNTransform):
        return LIST
    if isinstance(module, optical_flow.RAFT):
        return PAIR
    return clip(_CLIP) if isinstance(module, tuple(_VIDEO)) else PICTURE


def trained_preprocess(module: nn.Module, weights: Any, overrides: Overrides) -> Preprocess:
    """Return what torchvision does to pictures for `weights`, with the user's changes in it."""
    if isinstance(module, optical_flow.RAFT):  # its weights don't say of which size pictures are to be
        return flow_preprocess(overrides)
    return preset_preprocess(weights.transforms(), weights.name, overrides)


def untrained_preprocess(module: nn.Module, overrides: Overrides, channels: int = 3) -> Preprocess:
    """Return the standard preprocessing in the form and of the size that the module demands."""
    if isinstance(module, optical_flow.RAFT):
        return flow_preprocess(overrides)
    if form_of(module) is LIST:  # such a model resizes and normalises by itself
        like = detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT
    else:
        like = next((weights for kind, weights in _VIDEO.items() if isinstance(module, kind)), None)
    if like is None:
        return standard_with(overrides, channels, _demanded_size(module))
    return preset_preprocess(like.transforms(), "", overrides)


def _demanded_size(module: nn.Module) -> tuple[int, int] | None:
    """Return the only size that a transformer takes, or the one that a network was designed for."""
    if isinstance(module, torchvision.models.Inception3):
        return 299, 299
    side = getattr(module, "image_size", None)
    return (side, side) if isinstance(side, int) else None


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Bound the wait for a silent server: torch.hub sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
