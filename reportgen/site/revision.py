"""A finished site's pages written again from its record: new captions, a new title, new templates."""

import dataclasses
from collections import ChainMap
from dataclasses import dataclass
from pathlib import Path

from reportgen.site.captions import read_captions
from reportgen.site.record import FILE_NAME, Record, read_record, to_json
from reportgen.site.render import render
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


def rewrite(site: Path, *, captions: Path | None = None, title: str = "") -> Revision:
    """Write the pages of `site` again; `captions` and `title`, where given, replace those of the record.

    Raises UsageError for captions that can't be read, InputError when `site` holds no record, OutputError when
    it can't be written; the site is then as it was.
    """
    record = read_record(site)
    if captions is not None:
        record = dataclasses.replace(record, captions=dict(read_captions(captions).texts))
    if title:
        record = dataclasses.replace(record, title=title)
    rendered = render(record)
    pages = ChainMap({FILE_NAME: to_json(record)}, rendered.files)
    written = {name for name in read_manifest(site) if name.endswith(".html") or name.startswith("static/")}
    revise(site, pages, frozenset(written - set(pages)))
    html = sum(name.endswith(".html") for name in pages)
    return Revision(site, record, html, tuple(rendered.warnings))
