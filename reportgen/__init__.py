"""reportgen: a browsable site of what every layer of a vision network did with your images.

    report = reportgen.build("resnet18", ["cat.jpg"], "report")
    print(report.address)

Importing this module loads neither torch nor matplotlib; the functions below do when they need them.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reportgen.errors import IncompleteError, InputError, OutputError, ReportError, UsageError
from reportgen.options import Options, make_options
from reportgen.report import Report

if TYPE_CHECKING:
    from torch import nn

    from reportgen.entities import Activation
    from reportgen.inputs.images import Item
    from reportgen.packing.pack import Packed
    from reportgen.rebuilding import Rebuilt
    from reportgen.site.revision import Revision
    from reportgen.site.verify import Difference

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
    "pack",
    "rebuild",
    "render",
    "stream",
    "verify",
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
    `size`, `max_pixels`, `mean`, `std`, `model_arg`, `device`, `dtype` and `batch_size` of `build`. A module passed
    in is in eval mode while the stream is open.

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

    `captions` is a directory of Markdown files and the pictures that they show, `templates` one of templates and
    static files that replace single built-in ones, `base_url` the site's address on the web. What is not given
    stays as it is; `templates="none"` and `base_url="none"` go back to the built-in templates and to no address. A
    site that has templates of its own must be given them again, or "none", since it does not hold them.

    Needs no model and does not load torch. Raises UsageError (for a template that fails, too), InputError when
    `site` is no report or not whole, OutputError; the site is then as it was.
    """
    from reportgen.illustrating import encode
    from reportgen.site.revision import rewrite
    from reportgen.site.theme import Theme

    given = {"templates": templates, "base_url": base_url}
    options = make_options({name: value for name, value in given.items() if value is not None})
    return rewrite(
        Path(site),
        captions=Path(captions) if captions else None,
        encode=encode,
        title=title,
        theme=None if templates is None else Theme(options.templates),
        base_url=None if base_url is None else options.base_url,
    )


def pack(
    site: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    max_size: str | int | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> "Packed":
    """Put the site `site` into one file: `out` ends in `.html` (a document that needs nothing else) or `.zip`.

    `max_size` (bytes, or a text such as "25MB") is kept by leaving out vector graphics and arrays, then by fewer
    and coarser channels; the pages and `Packed.reductions` say what was reduced. `say` is called with the estimated
    size before the work. A file that is there is replaced if it was packed by reportgen, or with `force`.

    Needs no model and does not load torch. Raises UsageError when it can't be made as small as that, InputError
    when `site` is no report or not whole, OutputError. Nothing is then left behind.
    """
    from reportgen.packing.pack import pack_site
    from reportgen.packing.sizes import read_size

    limit = None if max_size is None else read_size(max_size)
    return pack_site(Path(site), Path(out), max_size=limit, force=force, say=say)


def verify(site: str | os.PathLike[str]) -> "Difference":
    """Return how the files of `site` differ from its SHA256SUMS: those that were changed, are missing, were added.

    Does not load torch. Raises InputError when `site` has no manifest that can be read.
    """
    from reportgen.site.verify import verify as verify_site

    return verify_site(Path(site))


def rebuild(
    site: str | os.PathLike[str],
    model: "str | nn.Module | None" = None,
    images: "Iterable[Item] | Item" = (),
    *,
    weights: str | os.PathLike[str] | None = None,
    statistics: str | os.PathLike[str] | None = None,
    templates: str | os.PathLike[str] | None = None,
) -> "Rebuilt":
    """Build `site` again with the options that it records, and return in which files it differs.

    Nothing is written. `model`, `images`, `weights` (a file), `statistics` and `templates` (directories) are what
    the site was built from. Hashes of what is measured are compared with the recorded ones before anything is run.

    Raises UsageError when one is needed that is not given, InputError when one is not what it was.
    """
    from reportgen.rebuilding import rebuild as rebuild_site

    return rebuild_site(
        Path(site),
        model,
        _listed(images),
        weights=weights,
        statistics=Path(statistics) if statistics else None,
        templates=Path(templates) if templates else None,
    )


def _listed(images: "Iterable[Item] | Item") -> "Iterable[Item]":
    """One path, picture or tensor is a list of one (a batch in one tensor is split later)."""
    single = isinstance(images, str | os.PathLike) or hasattr(images, "size")
    return [images] if single else images  # type: ignore[list-item,return-value]  # told apart by duck typing
