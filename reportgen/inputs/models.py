"""From what the user calls a model to a module with its preprocessing, categories and identity."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from reportgen.errors import InputError, UsageError
from reportgen.inputs import hf_models, torchvision_models
from reportgen.inputs.builders import check_reserved
from reportgen.inputs.factories import call_factory, recorded_spec
from reportgen.inputs.forms import PICTURE, Form, check_call
from reportgen.inputs.hf_models import HuggingFaceModel
from reportgen.inputs.identity import file_of_factory
from reportgen.inputs.precision import Precision
from reportgen.inputs.preprocess import Overrides, Preprocess, standard_with
from reportgen.inputs.timm_models import TimmModel
from reportgen.inputs.torchvision_models import TorchvisionModel, checkpoint_path
from reportgen.inputs.weights import SEED, find_file, load_into, read_state_dict, sha256_of

_RANDOM = f"none: random values, seed {SEED}"
_OWN, _NONE = "default", "none"


@dataclass(frozen=True)
class Model:
    """A network ready to be walked.

    `spec` never holds a directory of this machine; `weights` is for people; `weights_sha256` is of the file
    the weights came from, None where there is none. `categories` is () when they are not known. `source` is
    "torchvision", "timm", "hf", "factory" or "module"; `form` says what the module is called with. It must run
    inside what `precision` returns, entered in the thread that runs it.
    """

    module: nn.Module
    preprocess: Preprocess
    categories: tuple[str, ...]
    spec: str
    weights: str
    weights_sha256: str | None
    random_weights: bool
    source: str
    form: Form = PICTURE
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext
    factory_file: Path | None = None
    """The Python file of the factory that made the module."""


@dataclass(frozen=True)
class _Asked:
    """What is asked for besides the model's name. `weights` is "default", "none" or a file that exists."""

    weights: Path | str
    overrides: Overrides
    base: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)


def load_model(
    spec: str | nn.Module,
    *,
    weights: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    directory: Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    device: str = "",
    dtype: str = "",
) -> Model:
    """Return the model that `spec` names: `resnet18`, `torchvision:NAME[@WEIGHTS]`, `timm:NAME[.TAG]`,
    `hf:NAME[@REVISION]`, `hf:DIRECTORY`, `package.module:factory`, `path/file.py:factory`, or a module, which is
    taken as it is and left so.

    `weights` are "default" (the model's own; the same as None), "none" (random, reproducible values) or a
    file. `size` (pixels), `mean` and `std` replace parts of the preprocessing. Relative paths start at
    `directory`, by default the current one. `arguments` go to what builds the model. `device` and `dtype` are the
    words of the options of these names; a module that they would change is copied. Modules made here are in eval
    mode; no random state is changed.

    Raises UsageError for options that make no sense, InputError for a model, weights or device that can't be had,
    and for a model that needs more than pictures.
    """
    overrides, precision = Overrides.read(size, mean, std), Precision.read(device, dtype)
    if isinstance(spec, nn.Module):
        model = _from_module(spec, weights, overrides, arguments or {})
    else:
        base = directory or Path.cwd()
        with redirect_stdout(sys.stderr):  # stdout is for data; torch.hub and user code print there
            source = _source(spec)
            if source != "factory":
                check_reserved(arguments or {})
            model = _LOADERS[source](spec, _Asked(_read_weights(weights, base), overrides, base, arguments or {}))
    _check(model)
    module = precision.place(model.module, ours=not isinstance(spec, nn.Module))
    return replace(model, module=module, precision=precision.context(_device(module)))


def _source(spec: str) -> str:
    """Tell the sources of models apart; InputError for what is none."""
    source, colon, _ = spec.partition(":")
    if colon and source in _LOADERS:
        return source
    if spec.endswith(".py") or (not colon and "/" in spec):
        raise InputError(
            f"model {spec}: name the function in it that builds the model, as in file.py:factory; for a directory "
            "of transformers write hf:DIRECTORY"
        )
    return "factory" if colon else "torchvision"


def _check(model: Model) -> None:
    """Refuse a model that can't be called with pictures alone, before any work begins."""
    if model.preprocess.channels in (1, 3):
        check_call(model.module, *model.form.pack(model.form.blank((1, 1), model.preprocess.channels)))


def _device(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def _read_weights(weights: str | os.PathLike[str] | None, base: Path) -> Path | str:
    """Return "default", "none", or the path of a file that exists."""
    if weights is None or weights in (_OWN, _NONE):
        return _OWN if weights is None else str(weights)
    return find_file(os.fspath(weights), base)


def _from_module(
    module: nn.Module,
    weights: str | os.PathLike[str] | None,
    overrides: Overrides,
    arguments: Mapping[str, Any],
) -> Model:
    if weights not in (None, _OWN):
        raise UsageError(
            f"weights {os.fspath(weights or '')}: a module that is passed in keeps the weights it has; load "
            "them into it first, or pass a model spec"
        )
    if arguments:
        raise UsageError(f"model-arg {next(iter(arguments))}: a module that is passed in is built already")
    return Model(
        module,
        _preprocess_of(module, overrides),
        (),
        type(module).__name__,
        "as given",
        None,
        random_weights=False,
        source="module",
        form=_form_of(module),
    )


def _from_factory(spec: str, asked: _Asked) -> Model:
    module = call_factory(spec, asked.base, asked.arguments).eval()
    told, digest = "as the factory made them", None
    if isinstance(asked.weights, Path):
        load_into(module, read_state_dict(asked.weights), asked.weights.name)
        told, digest = asked.weights.name, sha256_of(asked.weights)
    elif asked.weights == _NONE:
        told = _RANDOM
    return Model(
        module,
        _preprocess_of(module, asked.overrides),
        (),
        recorded_spec(spec),
        told,
        digest,
        random_weights=asked.weights == _NONE,
        source="factory",
        form=_form_of(module),
        factory_file=file_of_factory(spec, asked.base),
    )


def _from_timm(spec: str, asked: _Asked) -> Model:
    found = TimmModel.find(spec.removeprefix("timm:"), asked.arguments)
    same_classes, digest = asked.weights != _NONE, None
    if isinstance(asked.weights, Path):
        module, same_classes = found.build_with(read_state_dict(asked.weights), asked.weights.name)
        told, digest = asked.weights.name, sha256_of(asked.weights)
    elif asked.weights == _NONE:
        module, told = found.build_untrained(), _RANDOM
    else:
        module = found.build_trained()
        told, digest = found.identify(module)
    return Model(
        module,
        found.preprocess(module, _channels(module, asked.overrides), asked.overrides),
        found.categories(module) if same_classes else (),
        spec,
        told,
        digest,
        random_weights=asked.weights == _NONE,
        source="timm",
    )


def _from_hf(spec: str, asked: _Asked) -> Model:
    found = HuggingFaceModel.find(spec.removeprefix("hf:"), asked.base, asked.arguments)
    digest = None
    if isinstance(asked.weights, Path):
        whole = found.build_with(read_state_dict(asked.weights), asked.weights.name)
        told, digest = asked.weights.name, sha256_of(asked.weights)
    elif asked.weights == _NONE:
        whole, told = found.build_untrained(), _RANDOM
    else:
        whole, lacking = found.build_trained()
        told, digest = f"{found.name.removeprefix('hf:')}{lacking and ', '}{lacking}", found.published_hash()
    module = found.seeing(whole)
    part = f"; the vision tower of {type(whole).__name__}" if module is not whole else ""
    return Model(
        module,
        found.preprocess(module, asked.overrides),
        found.categories if module is whole and asked.weights != _NONE else (),
        found.name,
        told + part,
        digest,
        random_weights=asked.weights == _NONE,
        source="hf",
        form=hf_models.form_of(module),
    )


def _from_torchvision(spec: str, asked: _Asked) -> Model:
    name, at, wanted = spec.removeprefix("torchvision:").partition("@")
    found = TorchvisionModel.find(name)
    chosen = found.weights(wanted if at else None)
    if isinstance(asked.weights, Path):
        return _from_checkpoint(spec, found, chosen if at else None, asked)
    if asked.weights == _NONE:
        module = found.build_untrained(asked.arguments)
        preprocess = torchvision_models.untrained_preprocess(
            module, asked.overrides, _channels(module, asked.overrides)
        )
        return _torchvision_model(module, preprocess, (), spec, _RANDOM, None)
    module = found.build_trained(chosen, asked.arguments)
    preprocess = torchvision_models.trained_preprocess(module, chosen, asked.overrides)
    return _torchvision_model(module, preprocess, _categories(chosen), spec, *_identify(found, chosen))


def _torchvision_model(
    module: nn.Module, preprocess: Preprocess, categories: tuple[str, ...], spec: str, told: str, digest: str | None
) -> Model:
    form = torchvision_models.form_of(module)
    random = told == _RANDOM
    return Model(module, preprocess, categories, spec, told, digest, random, "torchvision", form)


def _from_checkpoint(spec: str, found: TorchvisionModel, wanted: Any | None, asked: _Asked) -> Model:
    """Load a file into a torchvision model. One that torchvision published is treated as those weights."""
    file = Path(asked.weights)
    digest = sha256_of(file)
    known = found.recognise(digest)
    weights = known or wanted
    module, same_classes = found.build_with(read_state_dict(file), file.name, weights, asked.arguments)
    like = weights or found.default
    preprocess = torchvision_models.trained_preprocess(module, like, _fit(module, like, asked.overrides))
    categories = _categories(like) if same_classes else ()
    told = f"{file.name} ({known.name})" if known else file.name
    return _torchvision_model(module, preprocess, categories, spec, told, digest)


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


def _preprocess_of(module: nn.Module, overrides: Overrides) -> Preprocess:
    """Return the standard preprocessing of a module of unknown origin, in the form and size that it demands."""
    channels = _channels(module, overrides)
    if hf_models.is_of_transformers(module):
        return standard_with(overrides, channels, hf_models.image_size(getattr(module, "config", None)))
    return torchvision_models.untrained_preprocess(module, overrides, channels)


def _form_of(module: nn.Module) -> Form:
    if hf_models.is_of_transformers(module):
        return hf_models.form_of(module)
    return torchvision_models.form_of(module)


def _channels(module: nn.Module, overrides: Overrides) -> int:
    """Return how many channels the first convolution reads; without one, 1 if `mean` has 1 number, else 3."""
    for child in module.modules():
        if isinstance(child, _ConvNd) and child.in_channels > 0:  # a lazy one doesn't know yet
            return child.in_channels
    return 1 if overrides.mean is not None and len(overrides.mean) == 1 else 3


_LOADERS: Mapping[str, Callable[[str, _Asked], Model]] = {
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "hf": _from_hf,
    "factory": _from_factory,
}
