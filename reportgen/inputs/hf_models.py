"""Hugging Face's models: by name or from a directory, as their configuration says, with their image processor."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import nn
from torchvision.transforms import InterpolationMode

from reportgen.errors import InputError, ReportError
from reportgen.inputs.builders import building, import_extra, published_hash, quietly, refused_argument
from reportgen.inputs.forms import Form, by_keyword
from reportgen.inputs.preprocess import Overrides, Preprocess, measured_preprocess, standard_with
from reportgen.inputs.weights import StateDict, load_into, seeded, weights_only

_PICTURES = ("pixel_values", "pixel_values_videos")
_DEPTHS = ("num_frames", "frames_per_clip")
_SIZES = ("image_size", "img_size", "crop_size")
_PARTS = ("vision_config", "backbone_config")
# What from_pretrained takes besides the configuration's own values: where and how to look for files.
_LOOKING = frozenset(
    {
        "cache_dir", "code_revision", "force_download", "local_files_only", "proxies", "resume_download",
        "return_unused_kwargs", "revision", "subfolder", "token", "trust_remote_code", "use_auth_token",
    }
)  # fmt: skip
_RESAMPLING = {
    0: InterpolationMode.NEAREST,
    1: InterpolationMode.LANCZOS,
    2: InterpolationMode.BILINEAR,
    3: InterpolationMode.BICUBIC,
}


@dataclass(frozen=True)
class HuggingFaceModel:
    """A model of transformers: `name` is for people, `place` its repository or its directory."""

    name: str
    place: str
    where: Mapping[str, Any]
    """How files are looked for: only in the directory, or at which revision."""
    config: Any
    transformers: Any

    @classmethod
    def find(cls, name: str, base: Path, arguments: Mapping[str, Any]) -> "HuggingFaceModel":
        """Read the configuration of a directory relative to `base`, or else of the repository `NAME[@REVISION]`.

        `arguments` change the configuration. Raises InputError when transformers is not installed or there is no
        configuration, UsageError for an argument that it doesn't have.
        """
        transformers = import_extra("transformers", "hf", f"hf:{name}")
        directory = base / Path(name).expanduser()
        local = bool(name) and directory.is_dir()
        repository, _, revision = name.partition("@")
        place = str(directory) if local else repository
        shown = f"hf:{directory.resolve().name if local else name}"
        where = {"local_files_only": True} if local else {"revision": revision or "main"}
        config = _read_config(transformers, shown, place, where, arguments)
        return cls(shown, place, where, config, transformers)

    @property
    def model_class(self) -> Any:
        """The class that the configuration names, else the one transformers has for its kind."""
        for name in self.config.architectures or ():
            found = getattr(self.transformers, name, None)
            if isinstance(found, type) and issubclass(found, self.transformers.PreTrainedModel):
                return found
        auto = self.transformers.models.auto.modeling_auto
        for known in (auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, auto.MODEL_MAPPING):
            if type(self.config) in known:
                found = known[type(self.config)]
                return found[0] if isinstance(found, tuple) else found
        raise InputError(f"model {self.name}: transformers has no model for {type(self.config).__name__}")

    def build_trained(self) -> tuple[nn.Module, str]:
        """Build the model with its own weights; the text names what they lack, and is else empty.

        Raises InputError, with both ways out, when they can't be had.
        """
        with building(self.name, {}, ""), weights_only(), seeded(), quietly():
            module: nn.Module
            module, info = self.model_class.from_pretrained(
                self.place, config=self.config, output_loading_info=True, **self.where
            )
        missing = sorted(info["missing_keys"])
        return module.eval(), f"random where they have none: {', '.join(missing)}" if missing else ""

    def build_untrained(self) -> nn.Module:
        """Build the model with random values, the same ones each time."""
        if getattr(self.config, "use_pretrained_backbone", False):
            self.config.use_pretrained_backbone = False
        with building(self.name, {}), seeded(), quietly():
            module: nn.Module = self.model_class(self.config)
            return module.eval()

    def build_with(self, state: StateDict, file: str) -> nn.Module:
        """Build the model and load a checkpoint into it. Raises InputError where the two don't fit."""
        module = self.build_untrained()
        load_into(module, state, file)
        return module

    def published_hash(self) -> str | None:
        """Return the SHA-256 of the model's own weights, if they are one file that is here."""
        return published_hash(self.place, self.where.get("revision"))

    def seeing(self, module: nn.Module) -> nn.Module:
        """Return the part of a built model that takes pictures alone: of one that reads text too, its vision tower.

        Raises InputError for a model that takes none.
        """
        if _takes_pictures(module):
            return module
        parts = sorted(module.named_modules(), key=lambda part: part[0].count(".") if part[0] else -1)
        towers: list[nn.Module] = [part for _, part in parts if _takes_pictures(part)]
        if not towers or not hasattr(self.config, "vision_config"):
            raise InputError(
                f"model {self.name}: {type(module).__name__} takes "
                f"{next(iter(inspect.signature(module.forward).parameters), 'nothing')}, not pictures alone; "
                "wrap it in a module that fills in the rest and give path/to/file.py:factory"
            )
        return towers[0]

    def preprocess(self, module: nn.Module, overrides: Overrides) -> Preprocess:
        """Return what the model's image processor does, else the standard, with the user's changes in it.

        Raises InputError where the processor makes something else than a picture.
        """
        processor = self._processor()
        channels = _number(module, self.config, "num_channels") or 3
        if processor is None or channels != 3:
            return standard_with(overrides, channels, image_size(getattr(module, "config", self.config)))

        def transform(picture: PIL.Image.Image) -> torch.Tensor:
            return _picture_of(processor(images=picture, return_tensors="pt"))

        owner = type(processor).__name__
        resampling = _RESAMPLING.get(getattr(processor, "resample", 2), InterpolationMode.BILINEAR)
        try:
            return measured_preprocess(transform, owner, overrides, resampling)
        except ReportError:
            raise
        except Exception as error:
            raise InputError(
                f"model {self.name}: its image processor {owner} can't be used for pictures alone ({error})"
            ) from error

    def _processor(self) -> Any:
        """Return the image processor that was saved with the model, or None."""
        with quietly():
            try:
                return self.transformers.AutoImageProcessor.from_pretrained(
                    self.place, trust_remote_code=False, **self.where
                )
            except (ImportError, LookupError, OSError, ValueError):  # each says: there is none for this model
                return None

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the classes; () where the configuration has placeholders only, or the model no classes."""
        names = {int(number): str(name) for number, name in (self.config.id2label or {}).items()}
        placeholders = all(name == f"LABEL_{number}" for number, name in names.items())
        if placeholders or "For" not in self.model_class.__name__:
            return ()
        return tuple(names.get(number, str(number)) for number in range(max(names) + 1))


def form_of(module: nn.Module) -> Form:
    """Return the form in which a model of transformers that `takes_pictures` is given them."""
    keyword = next(name for name in _PICTURES if name in inspect.signature(module.forward).parameters)
    frames = [_number(module, getattr(module, "config", None), name) for name in _DEPTHS]
    return by_keyword(keyword, next((number for number in frames if number), 1))


def is_of_transformers(module: nn.Module) -> bool:
    """Tell a model of transformers that takes pictures, without importing the package."""
    ours = any(cls.__module__.partition(".")[0] == "transformers" for cls in type(module).__mro__)
    return ours and _takes_pictures(module)


def image_size(config: Any) -> tuple[int, int] | None:
    """Return the (height, width) that a configuration names, itself or of its vision part, if any."""
    for value in (getattr(config, name, None) for name in _SIZES):
        if isinstance(value, int):
            return value, value
        if isinstance(value, list | tuple) and len(value) == 2:
            return int(value[0]), int(value[1])
    parts = [getattr(config, name, None) for name in _PARTS]
    return next((size for part in parts if part is not None and (size := image_size(part))), None)


def _read_config(
    transformers: Any, shown: str, place: str, where: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Any:
    for argument in _LOOKING & arguments.keys():
        raise refused_argument(shown, argument)
    try:
        with quietly():
            config, unused = transformers.AutoConfig.from_pretrained(
                place, trust_remote_code=False, return_unused_kwargs=True, **where, **arguments
            )
    except Exception as error:
        way = "save the model there" if "local_files_only" in where else "give a directory that it was saved in"
        raise InputError(
            f"model {shown}: its configuration could not be had ({type(error).__name__}: {error}); check the name, "
            f"or {way}"
        ) from error
    for argument in unused:
        raise refused_argument(shown, argument)
    return config


def _takes_pictures(module: nn.Module) -> bool:
    parameters = inspect.signature(module.forward).parameters
    return any(name in parameters for name in _PICTURES) and "input_ids" not in parameters


def _number(module: nn.Module, config: Any, name: str) -> int:
    value = getattr(getattr(module, "config", config), name, 0)
    return value if isinstance(value, int) else 0


def _picture_of(made: Mapping[str, Any]) -> torch.Tensor:
    """Return the picture (C, H, W) in what an image processor made of one."""
    name = next((name for name in _PICTURES if name in made), None)
    if name is None:
        raise ValueError(f"it makes {', '.join(made)}")
    values = torch.as_tensor(made[name][0])
    while values.dim() > 3 and len(values) == 1:
        values = values[0]
    return values
