"""reportgen: a browsable site of what every layer of a vision network did with your images.

    report = reportgen.build("resnet18", ["cat.jpg"], "report")
    print(report.address)

Importing this module loads neither torch nor matplotlib; the functions below do when they need them.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reportgen.errors import IncompleteError, InputError, OutputError, ReportError, UsageError
from reportgen.options import Options, make_options
from reportgen.report import Report

if TYPE_CHECKING:
    from torch import nn

    from reportgen.entities import Activation
    from reportgen.inputs.images import Item
    from reportgen.site.revision import Revision

__version__ = "0.1.0"

__all__ = [
    "IncompleteError",
    "InputError",
    "Options",
    "OutputError",
    "Report",
    "ReportError",
    "UsageError",
    "build",
    "render",
    "stream",
]


def build(
    model: "str | nn.Module", images: "Iterable[Item] | Item", out: str | os.PathLike[str], **options: Any
) -> Report:
    """Build a site in the directory `out` that shows what `model` did with `images`.

    `model` is a spec as on the command line, or a module, which comes back exactly as it was: training flags,
    buffers, hooks, gradients, random state. `images` are paths, directories, globs, PIL images or tensors: uint8
    ones are pictures, floating ones go into the network unchanged, (C, H, W), (N, C, H, W) or clips
    (N, C, D, H, W). `options` are the fields of `Options`.

    A node or figure that fails does not stop the report: see `Report.complete` and its `record.problems`. Raises
    UsageError, InputError, OutputError; with `strict=True` also IncompleteError. Nothing is then left at `out`
    that was not there before.
    """
    from reportgen.driver import build_report

    return build_report(model, _listed(images), Path(out), make_options(options))


def stream(model: "str | nn.Module", images: "Iterable[Item] | Item", **options: Any) -> "Iterator[Activation]":
    """Yield what each node of `model` computes for `images`, one node at a time, in execution order.

    An `Activation` is borrowed: its value is valid until the next one is asked for, since the network may then
    overwrite it. Nothing is cloned, and gradients are off. Takes the options `nodes`, `exclude`, `deep`, `weights`,
    `size`, `mean`, `std`, `model_arg`, `device`, `dtype` and `batch_size` of `build`. A module passed in is in eval
    mode while the stream is open.

    Raises UsageError and InputError, and IncompleteError at a node that raises.
    """
    from reportgen.driver import stream_activations

    return stream_activations(model, _listed(images), make_options(options))


def render(
    site: str | os.PathLike[str],
    *,
    captions: str | os.PathLike[str] | None = None,
    title: str = "",
    templates: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
) -> "Revision":
    """Write the pages of the site `site` again from its record, with other words or looks if given.

    `captions` is a directory of Markdown files, `templates` one of templates and static files that replace single
    built-in ones, `base_url` the site's address on the web. What is not given stays as it is; `templates="none"`
    and `base_url="none"` go back to the built-in templates and to no address. A site that has templates of its
    own must be given them again, or "none", since it does not hold them.

    Needs no model and does not load torch. Raises UsageError (for a template that fails, too), InputError when
    `site` is no report or not whole, OutputError; the site is then as it was.
    """
    from reportgen.site.revision import rewrite
    from reportgen.site.theme import Theme

    given = {"templates": templates, "base_url": base_url}
    options = make_options({name: value for name, value in given.items() if value is not None})
    return rewrite(
        Path(site),
        captions=Path(captions) if captions else None,
        title=title,
        theme=None if templates is None else Theme(options.templates),
        base_url=None if base_url is None else options.base_url,
    )


def _listed(images: "Iterable[Item] | Item") -> "Iterable[Item]":
    """One path, picture or tensor is a list of one (a batch in one tensor is split later)."""
    single = isinstance(images, str | os.PathLike) or hasattr(images, "size")
    return [images] if single else images  # type: ignore[list-item,return-value]  # told apart by duck typing
