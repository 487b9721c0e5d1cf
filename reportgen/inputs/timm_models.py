"""timm's models: found by name, built, and preprocessed as they declare it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from reportgen.errors import InputError
from reportgen.inputs.builders import building, import_extra, published_hash, quietly
from reportgen.inputs.preprocess import (
    Overrides,
    Preprocess,
    normalisation,
    normalisation_text,
    size_text,
)
from reportgen.inputs.weights import StateDict, class_count, load_into, misshapen, seeded, weights_only
from reportgen.names import did_you_mean


@dataclass(frozen=True)
class TimmModel:
    """One of timm's models, by timm's own `NAME[.TAG]`, and the user's arguments for its builder."""

    name: str
    arguments: Mapping[str, Any]
    timm: Any

    @classmethod
    def find(cls, name: str, arguments: Mapping[str, Any]) -> "TimmModel":
        """Raises InputError when timm is not installed, and for a name or a tag that it doesn't know."""
        timm = import_extra("timm", "timm", f"timm:{name}")
        if ":" not in name and "/" not in name:  # those lead to a hub or a directory, in timm's own syntax
            _check_name(timm, name)
        return cls(name, arguments, timm)

    def build_trained(self) -> nn.Module:
        """Build the model with its own weights, downloaded unless they are in the cache.

        Raises InputError, with both ways out, when they can't be had.
        """
        with weights_only():
            return self._build("")

    def build_untrained(self, **config: Any) -> nn.Module:
        """Build the model with random values, the same ones each time."""
        return self._build(None, **config)

    def build_with(self, state: StateDict, file: str) -> tuple[nn.Module, bool]:
        """Build the model and load a checkpoint into it; the flag says if its classes are as many as its own.

        A checkpoint with another number of classes gets a model with as many. Raises InputError where the two
        don't fit.
        """
        module = self.build_untrained()
        count = class_count(misshapen(module, state))
        if count is not None:
            module = self.build_untrained(num_classes=count)
        load_into(module, state, file)
        return module, count is None

    def _build(self, weights: str | None, **config: Any) -> nn.Module:
        given = {**self.arguments, **config, "pretrained": weights is not None}
        with building(f"timm:{self.name}", self.arguments, weights), seeded(), quietly():
            module: nn.Module = self.timm.create_model(self.name, **given)
            return module.eval()

    def identify(self, module: nn.Module) -> tuple[str, str | None]:
        """Return the name of the weights that `build_trained` gave `module`, and their file's hash if known."""
        config = module.__dict__.get("pretrained_cfg") or {}
        own = config.get("num_classes")
        head = "" if self.arguments.get("num_classes", own) == own else ", its classifier random"
        repository = config.get("hf_hub_id")
        digest = published_hash(repository) if repository else None
        return f"{config.get('tag') or repository or self.name}{head}", digest

    def preprocess(self, module: nn.Module, channels: int, overrides: Overrides) -> Preprocess:
        """Return what timm does to pictures for `module`, with the user's changes in it."""
        config = self.timm.data.resolve_model_data_config(module)
        size = overrides.size or Overrides.read(self.arguments.get("img_size")).size or config["input_size"][1:]
        own = (_for_channels(config["mean"], channels), _for_channels(config["std"], channels))
        mean, std = normalisation(channels, overrides, *own)
        changes = {"input_size": (channels, *size), "mean": mean, "std": std}
        transform = self.timm.data.create_transform(**{**config, **changes}, is_training=False)
        owner = f"{self.name}'s{', changed' if overrides else ' own'}"
        told = f"{owner}: {_steps_text(config, size)}, {normalisation_text(mean, std)}"
        return Preprocess(told, channels, mean, std, transform, size)

    def categories(self, module: nn.Module) -> tuple[str, ...]:
        """Return the names of the classes of timm's own weights, where they are some set of ImageNet's."""
        subset = self.timm.data.infer_imagenet_subset(module)
        if not subset:
            return ()
        info = self.timm.data.ImageNetInfo(subset)
        return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def _check_name(timm: Any, name: str) -> None:
    architecture, dot, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = did_you_mean(architecture.lower(), timm.list_models()) or "timm.list_models() has them all"
        raise InputError(f"model timm:{name}: unknown to timm {timm.__version__}; {hint}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if dot and tag not in tags:
        there = f"there are {', '.join(sorted(tags))}" if tags else "there are none"
        raise InputError(f"model timm:{name}: no weights {tag}; {there}")


def _for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Let a model of other than three channels have the mean of the three, as many times."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _steps_text(config: Mapping[str, Any], size: tuple[int, int]) -> str:
    """Say in words how timm's three ways to crop come to `size`."""
    box = tuple(math.floor(side / config["crop_pct"]) for side in size)
    resize = f"resize {size_text((box[0], box[1]))} ({config['interpolation']})"
    if config["crop_mode"] == "squash":
        return f"{resize} without regard to proportions, centre crop {size_text(size)}"
    if config["crop_mode"] == "border":
        return f"{resize} by the longer side, centred in {size_text(size)}"
    return f"{resize}, centre crop {size_text(size)}"
