"""From what the user calls a model to a module with its preprocessing, categories and identity."""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from reportgen.errors import InputError, UsageError
from reportgen.inputs.factories import call_factory, recorded_spec
from reportgen.inputs.preprocess import Overrides, Preprocess, preset_preprocess, standard_with
from reportgen.inputs.torchvision_models import TorchvisionModel, checkpoint_path
from reportgen.inputs.weights import SEED, find_file, load_into, read_state_dict, sha256_of

_RANDOM = f"none: random values, seed {SEED}"
_UNSUPPORTED = ("timm", "hf")
_OWN, _NONE = "default", "none"


@dataclass(frozen=True)
class Model:
    """A network ready to be walked.

    `spec` never holds a directory of this machine; `weights` is for people; `weights_sha256` is of the file
    the weights came from, None where there is none. `categories` is () when they are not known.
    """

    module: nn.Module
    preprocess: Preprocess
    categories: tuple[str, ...]
    spec: str
    weights: str
    weights_sha256: str | None
    random_weights: bool


def load_model(
    spec: str | nn.Module,
    *,
    weights: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    directory: Path | None = None,
) -> Model:
    """Return the model that `spec` names: `resnet18`, `torchvision:NAME[@WEIGHTS]`, `package.module:factory`,
    `path/file.py:factory`, or a module, which is taken as it is and left so.

    `weights` are "default" (the model's own; the same as None), "none" (random, reproducible values) or a
    file. `size` (pixels), `mean` and `std` replace parts of the preprocessing. Relative paths start at
    `directory`, by default the current one. Modules made here are in eval mode; no random state is changed.

    Raises UsageError for options that make no sense, InputError for a model or weights that can't be had.
    """
    overrides = Overrides.read(size, mean, std)
    if isinstance(spec, nn.Module):
        return _from_module(spec, weights, overrides)
    base = directory or Path.cwd()
    with redirect_stdout(sys.stderr):  # stdout is for data; torch.hub and user code print there
        if _is_torchvision(spec):
            return _from_torchvision(spec, _read_weights(weights, base), overrides)
        return _from_factory(spec, _read_weights(weights, base), overrides, base)


def _is_torchvision(spec: str) -> bool:
    """Tell torchvision's names from factories; InputError for what is neither."""
    source, colon, _ = spec.partition(":")
    if source in _UNSUPPORTED and colon:
        raise InputError(
            f"model {spec}: the form {source}: is not supported by this version; write a function that "
            "returns the model and give path/to/file.py:function"
        )
    if spec.endswith(".py") or (not colon and "/" in spec):
        raise InputError(f"model {spec}: name the function in it that builds the model, as in file.py:factory")
    return not colon or source == "torchvision"


def _read_weights(weights: str | os.PathLike[str] | None, base: Path) -> Path | str:
    """Return "default", "none", or the path of a file that exists."""
    if weights is None or weights in (_OWN, _NONE):
        return _OWN if weights is None else str(weights)
    return find_file(os.fspath(weights), base)


def _from_module(module: nn.Module, weights: str | os.PathLike[str] | None, overrides: Overrides) -> Model:
    if weights not in (None, _OWN):
        raise UsageError(
            f"weights {os.fspath(weights or '')}: a module that is passed in keeps the weights it has; load "
            "them into it first, or pass a model spec"
        )
    preprocess = _standard_for(module, overrides)
    return Model(module, preprocess, (), type(module).__name__, "as given", None, random_weights=False)


def _from_factory(spec: str, weights: Path | str, overrides: Overrides, base: Path) -> Model:
    module = call_factory(spec, base).eval()
    told, digest = "as the factory made them", None
    if isinstance(weights, Path):
        load_into(module, read_state_dict(weights), weights.name)
        told, digest = weights.name, sha256_of(weights)
    elif weights == _NONE:
        told = _RANDOM
    preprocess = _standard_for(module, overrides)
    return Model(module, preprocess, (), recorded_spec(spec), told, digest, random_weights=weights == _NONE)


def _from_torchvision(spec: str, weights: Path | str, overrides: Overrides) -> Model:
    name, at, wanted = spec.removeprefix("torchvision:").partition("@")
    found = TorchvisionModel.find(name)
    chosen = found.weights(wanted if at else None)
    if isinstance(weights, Path):
        return _from_checkpoint(spec, found, chosen if at else None, weights, overrides)
    if weights == _NONE:
        preprocess = standard_with(overrides, 3)
        return Model(found.build_untrained(), preprocess, (), spec, _RANDOM, None, random_weights=True)
    preprocess = preset_preprocess(chosen.transforms(), chosen.name, overrides)
    module = found.build_trained(chosen)
    told, digest = _identify(found, chosen)
    return Model(module, preprocess, _categories(chosen), spec, told, digest, random_weights=False)


def _from_checkpoint(
    spec: str, found: TorchvisionModel, wanted: Any | None, file: Path, overrides: Overrides
) -> Model:
    """Load a file into a torchvision model. One that torchvision published is treated as those weights."""
    digest = sha256_of(file)
    known = found.recognise(digest)
    weights = known or wanted
    module, same_classes = found.build_with(read_state_dict(file), file.name, weights)
    like = weights or found.default
    preprocess = preset_preprocess(like.transforms(), like.name, _fit(module, like, overrides))
    categories = _categories(like) if same_classes else ()
    told = f"{file.name} ({known.name})" if known else file.name
    return Model(module, preprocess, categories, spec, told, digest, random_weights=False)


def _fit(module: nn.Module, weights: Any, overrides: Overrides) -> Overrides:
    """Give a transformer that takes one size only its size, where the weights' transforms have another."""
    side = getattr(module, "image_size", None)
    if overrides.size or not isinstance(side, int) or weights.transforms().crop_size[0] == side:
        return overrides
    return Overrides((side, side), overrides.mean, overrides.std)


def _identify(found: TorchvisionModel, weights: Any) -> tuple[str, str | None]:
    """Return the name of downloaded weights and their checkpoint's hash, where torch.hub kept the file."""
    file = checkpoint_path(weights)
    if not file.is_file():
        return weights.name, None
    digest = sha256_of(file)
    # torch.hub checks the hash of what it downloads, but takes a file that is already there on trust.
    doubt = "" if found.recognise(digest) else f", but {file.name} is not the file torchvision published"
    return f"{weights.name}{doubt}", digest


def _categories(weights: Any) -> tuple[str, ...]:
    return tuple(weights.meta.get("categories") or ())


def _standard_for(module: nn.Module, overrides: Overrides) -> Preprocess:
    return standard_with(overrides, _channels(module, overrides))


def _channels(module: nn.Module, overrides: Overrides) -> int:
    """Return how many channels the first convolution reads; without one, 1 if `mean` has 1 number, else 3."""
    for child in module.modules():
        if isinstance(child, _ConvNd) and child.in_channels > 0:  # a lazy one doesn't know yet
            return child.in_channels
    return 1 if overrides.mean is not None and len(overrides.mean) == 1 else 3
