"""What a build hands back: where the site is, what it records, and how it shows itself in a notebook."""

import base64
import html
import io
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reportgen.errors import InputError
from reportgen.site.pages import top_class
from reportgen.site.record import DRAWN, ImageEntry, Record
from reportgen.timings import Timings

_PICTURES = 8
_SIDE = 96
"""The longest side of a picture in a notebook, in pixels."""


@dataclass(frozen=True, repr=False)
class Report:
    """A finished site.

    `site` is its directory, `record` what report.json holds, `warnings` what the user should hear about captions
    and templates; `files` and `bytes` are what was written, `seconds` how long it took. In a notebook a report
    shows itself: a summary with small pictures, which loads nothing.
    """

    site: Path
    record: Record
    warnings: tuple[str, ...]
    files: int
    bytes: int
    seconds: float
    timings: Timings = field(default_factory=Timings)
    """Where the time went."""

    @property
    def address(self) -> str:
        """The `file://` address of the site's index."""
        return (self.site.absolute() / "index.html").as_uri()

    @property
    def complete(self) -> bool:
        """Whether every node and figure succeeded, and no image was left out."""
        return not self.record.problems and not self.record.skipped_images

    @property
    def summary(self) -> str:
        """What was drawn, how much it is and how long it took: `53 of 53 nodes drawn for 8 images: ...`."""
        record = self.record
        images = len(record.images)
        drawn = sum(layer.status == DRAWN for layer in record.layers)
        return (
            f"{drawn} of {len(record.layers)} nodes drawn for {images} image{'s' if images != 1 else ''}: "
            f"{len(record.figures):,} figures, {self.files:,} files, {self.bytes / 1e6:.1f} MB "
            f"in {self.seconds:.1f} s"
        )

    def open(self) -> bool:
        """Open the site in the web browser; return whether there is one.

        Raises InputError when the site is no longer where it was written.
        """
        if not (self.site / "index.html").is_file():
            raise InputError(f"{self.site}: the report is no longer there; open its index.html where it is now")
        return webbrowser.open(self.address)

    def __repr__(self) -> str:
        return f"<Report {self.record.title!r} in {str(self.site)!r}: {self.summary}>"

    def _repr_html_(self) -> str:
        model = self.record.model
        parts = [
            f"<p><strong>{_text(self.record.title)}</strong></p>",
            f"<p>{_text(model.class_name)}, {model.parameters:,} parameters, {_text(model.weights)}.<br>"
            f"{_text(self.summary)}.</p>",
            *self._notes(),
            '<div style="display:flex;flex-wrap:wrap;gap:1em">',
            *map(self._card, self.record.images[:_PICTURES]),
            "</div>",
            f'<p><a href="{_text(self.address)}">{_text(str(self.site))}</a> '
            "(<code>.open()</code> shows it in the browser)</p>",
        ]
        return f'<div class="reportgen">{"".join(parts)}</div>'

    def _notes(self) -> Iterator[str]:
        """What the reader must not overlook."""
        if self.record.model.random_weights:
            yield "<p>Random weights: this network was not trained.</p>"
        for count, what in (
            (len(self.record.problems), "failed"),
            (len(self.record.skipped_images), "left out"),
            (len(self.record.images) - _PICTURES, "more images in the report"),
        ):
            if count > 0:
                yield f"<p>{count:,} {what}.</p>"

    def _card(self, image: ImageEntry) -> str:
        lines = [image.name, next(self._predictions(image), "")]
        words = "<br>".join(_text(line) for line in lines if line)
        return f'<div style="max-width:{2 * _SIDE}px">{self._picture(image)}<div>{words}</div></div>'

    def _predictions(self, image: ImageEntry) -> Iterator[str]:
        for figure in self.record.figures:
            if figure.kind == "predictions" and figure.image == image.id:
                yield top_class(figure)

    def _picture(self, image: ImageEntry) -> str:
        """The image as the network saw it; nothing where its file is gone."""
        for figure in self.record.figures:
            if (figure.kind, figure.image, figure.data.get("view")) == ("input", image.id, "seen"):
                address = _data_address(self.site / figure.files[0])
                return f'<img src="{address}" alt="{_text(figure.alt)}">' if address else ""
        return ""


def _text(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())


def _data_address(path: Path) -> str:
    """A small copy of the picture at `path` as an address that holds it; empty where it can't be read."""
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except OSError:
        return ""
    small.thumbnail((_SIDE, _SIDE))
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
