"""What a site must not say: where files lie, and, of an anonymous report, what files are called.

An anonymous report (`--anonymous`) calls images by number and names of the model its class only. It leaves out the
names of files, the report's title and web address, and the SHA-256 of the files of weights and source code, since
public hubs can be searched for these. Hashes of what the site shows anyway (the images, the parameters of which it
draws filters) stay: they tell nobody more than the pictures do, and `reportgen verify --rebuild` needs them.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from reportgen.errors import UsageError
from reportgen.inputs.images import BadImage, ImageSource
from reportgen.inputs.models import Model
from reportgen.options import Options
from reportgen.site.illustrations import Illustrated, unnamed
from reportgen.site.record import LayerEntry, Record

UNNAMED = "not named"
_PLACEHOLDERS = {"captions": "DIR", "templates": "DIR", "statistics": "DIR", "weights": "FILE"}
_QUOTED = re.compile(r"""(?P<quote>['"])(?:file://)?(?P<path>(?:/(?!/)|[A-Za-z]:[\\/]|\\\\)[^'"\n]+)(?P=quote)""")
_OWN_MODULE = re.compile(r"_reportgen_\w+?_[0-9a-f]{12}")
"""What a Python file that was given as the model is called as a module."""
_PUBLIC = frozenset(
    ("torch", "torchvision", "timm", "transformers", "einops", "numpy", "math", "operator", "_operator", "builtins")
)
_BARE = re.compile(
    r"""(?<![\w./~-])(?:file://)?(?P<path>(?:/(?!/)|[A-Za-z]:\\)(?:[^\s'"<>|:*?/\\]+[/\\])+[^\s'"<>|:*?/\\,;)\]]*)"""
)


def without_paths(text: str, name: str = "") -> str:
    """Return `text` with every absolute path, POSIX or Windows, as its last part or as `name`; web addresses stay.

    A path with spaces is known by its quotes, or where it starts with the home or the current directory.
    """

    def short(path: str) -> str:
        return name or _last_part(path)

    text = _QUOTED.sub(lambda found: f"{found['quote']}{short(found['path'])}{found['quote']}", text)
    for known in (Path.cwd(), Path("~").expanduser()):
        if len(known.parts) > 1:
            text = text.replace(f"{known}/", "/_/").replace(f"{known}\\", "/_/")
    return _BARE.sub(lambda found: short(found["path"]), text)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def is_absolute(text: str) -> bool:
    """Tell an absolute path of any system from other texts."""
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


def recorded_value(value: Any) -> Any:
    """Return a JSON value with the absolute paths in it as their last parts."""
    if isinstance(value, str):
        return _last_part(value) if is_absolute(value) else value
    if isinstance(value, list):
        return [recorded_value(part) for part in value]
    if isinstance(value, dict):
        return {key: recorded_value(part) for key, part in value.items()}
    return value


def without_words(options: Options) -> Options:
    """Return the options of an anonymous report: without what its user, or its place, may be known by."""
    return dataclasses.replace(options, title="", base_url="")


def anonymous_options(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as an anonymous record holds them: no name of a file, no text among the model's arguments."""
    kept = dict(recorded)
    for name, placeholder in _PLACEHOLDERS.items():
        if kept[name] not in (None, "default", "none"):
            kept[name] = placeholder
    kept["model_arg"] = {
        name: value for name, value in kept["model_arg"].items() if isinstance(value, bool | int | float)
    }
    return kept


def anonymous_images(sources: Iterable[ImageSource], noun: str = "image") -> tuple[ImageSource, ...]:
    """Return the images as `image 1`, `image 2`... in their order, and with ids such as `image-1`."""
    return tuple(
        dataclasses.replace(source, id=f"{noun.replace(' ', '-')}-{number}", name=f"{noun} {number}")
        for number, source in enumerate(sources, 1)
    )


def anonymous_refusals(bad: Sequence[BadImage], noun: str = "unreadable image") -> list[BadImage]:
    """Return the images that were left out, numbered instead of named."""
    return [
        BadImage(f"{noun} {number}", image.reason.replace(image.name, f"{noun} {number}"))
        for number, image in enumerate(bad, 1)
    ]


def anonymous_captions(
    captions: Illustrated, named: Sequence[ImageSource], numbered: Sequence[ImageSource]
) -> Illustrated:
    """Return the captions with those of images under the images' new ids: `images/cat` becomes `images/image-1`.

    Pictures in them are called by number. Raises UsageError for a caption of no image, whose key would tell a
    file's name, and for a picture whose name can't be taken out.
    """
    ids = {f"images/{new.id}": f"images/{new.id}" for new in numbered}
    ids |= {f"images/{old.id}": f"images/{new.id}" for old, new in zip(named, numbered, strict=True)}
    stray = next((key for key in captions.texts if key.startswith("images/") and key not in ids), None)
    if stray:
        raise UsageError(
            f"captions/{stray}.md belongs to no image, and its name would be in the report; with --anonymous, call "
            "it after an image, or leave it out"
        )
    captions = unnamed(captions)
    texts = {ids.get(key, key): text for key, text in captions.texts.items()}
    entries = [
        dataclasses.replace(entry, caption=ids.get(entry.caption, entry.caption)) for entry in captions.entries
    ]
    return Illustrated(texts, entries, captions.files)


def anonymous_model(model: Model) -> Model:
    """Return the model with its class for its name, and its weights neither named nor hashed."""
    return dataclasses.replace(
        model,
        spec=type(model.module).__name__,
        weights=model.weights if model.random_weights else UNNAMED,
        weights_sha256=None,
    )


def private(record: Record, *, anonymous: bool) -> Record:
    """Return the record with no absolute path in what errors said: of nodes, figures, the tracer, bad images.

    In an anonymous one no file is named there either, nor are modules of code that is not of a public library.
    """

    def clean(text: str) -> str:
        return without_paths(_OWN_MODULE.sub("model", text), name=_PLACEHOLDERS["weights"] if anonymous else "")

    def target(layer: LayerEntry) -> str:
        foreign = layer.op == "call_function" and layer.target.partition(".")[0] not in _PUBLIC
        return layer.target.rpartition(".")[2] if anonymous and foreign else layer.target

    return dataclasses.replace(
        record,
        model=dataclasses.replace(record.model, tracer_reason=clean(record.model.tracer_reason)),
        layers=[
            dataclasses.replace(layer, reason=clean(layer.reason), target=target(layer)) for layer in record.layers
        ],
        problems=[clean(problem) for problem in record.problems],
        skipped_images=[dataclasses.replace(image, reason=clean(image.reason)) for image in record.skipped_images],
    )
