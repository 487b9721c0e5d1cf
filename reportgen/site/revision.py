"""A finished site's pages written again from its record: new captions, a new title, new templates."""

import dataclasses
import hashlib
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportgen.errors import InputError, UsageError
from reportgen.site.illustrations import Encode, Illustrated, read_illustrated, unnamed
from reportgen.site.record import FILE_NAME, Record, read_record, to_json
from reportgen.site.render import Rendered, render
from reportgen.site.theme import PROBLEM, Theme
from reportgen.site.writer import read_manifest, revise


@dataclass(frozen=True)
class Revision:
    """What was rewritten, and what the user should hear about the captions."""

    site: Path
    record: Record
    pages: int
    warnings: tuple[str, ...]

    @property
    def address(self) -> str:
        """The `file://` address of the site's index."""
        return (self.site.absolute() / "index.html").as_uri()


def rewrite(
    site: Path,
    *,
    captions: Path | None = None,
    encode: Encode | None = None,
    title: str = "",
    theme: Theme | None = None,
    base_url: str | None = None,
) -> Revision:
    """Write the pages of `site` again; what is given replaces what the record says.

    New `captions` come with their pictures, of which `encode` makes what is stored; without it they have none.

    Raises UsageError for captions that can't be read, a template that fails, and a site with templates of its own
    when there is no `theme`; InputError when `site` holds no record or lacks files that the record names;
    OutputError when it can't be written. The site is then as it was.
    """
    record = read_record(site)
    sums = read_manifest(site)
    _check_whole(site, record, record.illustrated if captions is None else frozenset())
    _check_templates(site, record, theme)
    changes: dict[str, Any] = {}
    fresh = Illustrated()
    if captions is not None:
        fresh = read_illustrated(captions, encode)
        fresh = unnamed(fresh) if record.options.get("anonymous") else fresh
        changes |= {"captions": fresh.texts, "illustrations": list(fresh.entries)}
    if title:
        changes["title"] = title
    if theme is not None:
        changes["problems"] = [problem for problem in record.problems if not str(problem).startswith(PROBLEM)]
    record = dataclasses.replace(record, **changes, options=_options(record, theme, base_url))
    rendered = _render(site, record, theme, sums)
    parts: list[Any] = [{FILE_NAME: to_json(record)}, fresh.files, rendered.binaries, rendered.files]
    pages: Mapping[str, str | bytes] = ChainMap(*parts)  # and no dict: a page is made when it is written
    written = {name for name in sums if name.endswith(".html") or name.startswith("static/")}
    revise(site, pages, frozenset(written - set(pages) - record.illustrated))
    html = sum(name.endswith(".html") for name in pages)
    return Revision(site, record, html, tuple(rendered.warnings))


def _check_whole(site: Path, record: Record, illustrated: Iterable[str]) -> None:
    """Raise InputError when files that the pages would show or offer are not there: figures', and `illustrated`."""
    named = dict.fromkeys(name for figure in record.figures for name in (*figure.files, *figure.downloads))
    named |= dict.fromkeys(sorted(illustrated))
    missing = [name for name in named if not (site / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise InputError(
            f"{site}: not whole: {missing[0]}{more} of {len(named):,} files of figures and captions missing; "
            "put them back, or build the report again"
        )


def _check_templates(site: Path, record: Record, theme: Theme | None) -> None:
    """Templates are no part of a site: without being told, nobody's are thrown away."""
    own = record.options.get("templates")
    if own and theme is None:
        raise UsageError(
            f"{site}: its pages were made with the templates {str(own)!r}; add --templates DIR with those, "
            "or --templates none for the built-in ones"
        )


def _options(record: Record, theme: Theme | None, base_url: str | None) -> Mapping[str, Any]:
    options = dict(record.options)
    if theme is not None:
        options["templates"] = theme.directory.absolute().name if theme.directory else None
    if base_url is not None:
        options["base_url"] = base_url
    return options


def _render(site: Path, record: Record, theme: Theme | None, sums: Mapping[str, str]) -> Rendered:
    """The pages of `record`. What fails is the record's fault where it is no longer the one that was written."""
    try:
        rendered = render(record, theme)
        written = hashlib.sha256((site / FILE_NAME).read_bytes()).hexdigest() == sums.get(FILE_NAME)
        # Every page is made before the first is written, unless it was made of this very record before.
        return rendered if written else dataclasses.replace(rendered, files=dict(rendered.files))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        digest = hashlib.sha256((site / FILE_NAME).read_bytes()).hexdigest()
        if digest == sums.get(FILE_NAME):
            raise
        raise InputError(
            f"{site / FILE_NAME}: changed since it was written, and no pages can be made of it: "
            f"{type(error).__name__}: {error}"
        ) from error
