"""What a page says of itself to search engines, and to those who show a preview of a link to it."""

import re
from dataclasses import dataclass

from reportgen.site.axes import shape
from reportgen.site.pages import AboutPage, ImagePage, IndexPage, LayerPage, Page, SimilarityPage
from reportgen.site.record import DRAWN, FigureEntry, LayerEntry, Record

PREVIEW = "preview"
"""The kind of the picture that is made for previews."""


@dataclass(frozen=True)
class Head:
    """Title, description and picture of a page.

    `address` is the page's own on the web, empty where nobody has said what the site's is. `picture_address` is the
    picture's: on the web as far as that is known, else relative to the page.
    """

    title: str
    description: str
    address: str
    picture: FigureEntry | None
    picture_address: str


def head_of(page: Page, record: Record, picture: FigureEntry | None) -> Head:
    """Return what `page` says of itself; its addresses start with the option `base_url` of the record."""
    base = base_url(record)
    root = base or "../" * page.path.count("/")
    own = "" if page.path == IndexPage.path else page.path
    return Head(
        title=_title(page, record),
        description=_description(page, record),
        address=base and base + own,
        picture=picture,
        picture_address=root + picture.files[0] if picture else "",
    )


def base_url(record: Record) -> str:
    """The site's address on the web, with a slash at its end; empty where it is not known."""
    given = record.options.get("base_url")
    return given if isinstance(given, str) and re.match("https?://", given) else ""


def preview(record: Record) -> FigureEntry | None:
    """The picture made for previews; in reports of earlier versions the first image."""
    last_first = (figure for figure in reversed(record.figures) if figure.kind == PREVIEW)  # it stands at the end
    inputs = (figure for figure in record.figures if figure.kind == "input")
    return next(last_first, None) or next(inputs, None)


def _title(page: Page, record: Record) -> str:
    match page:
        case LayerPage(layer=layer, part=part, parts=parts):
            continued = f", page {part} of {len(parts)}" if part > 1 else ""
            return f"{layer.title or layer.name}{continued} · {record.title}"
        case ImagePage(image=image):
            return f"{image.name} · {record.title}"
        case SimilarityPage():
            return f"Similarity · {record.title}"
        case AboutPage():
            return f"About · {record.title}"
        case _:
            return record.title


def _description(page: Page, record: Record) -> str:
    model = record.model.class_name
    match page:
        case LayerPage(layer=layer):
            return f"What the layer {_layer(layer)} of {model} did with {_images(record)}."
        case ImagePage(image=image):
            return f"What every layer of {model} did with {image.name}."
        case SimilarityPage():
            return f"How alike the layers of {model} are on {_images(record)}."
        case AboutPage():
            return f"How this report on {model} was made: model, weights, images, options and versions."
        case _:
            drawn = sum(layer.status == DRAWN for layer in record.layers)
            return (
                f"What every layer of {model} ({record.model.weights}) did with {_images(record)}: "
                f"{drawn:,} of {len(record.layers):,} nodes drawn, {len(record.figures):,} figures."
            )


def _layer(layer: LayerEntry) -> str:
    kind = layer.module_type or layer.op
    return f"{layer.name} ({kind}, {shape(layer)})" if layer.shape else f"{layer.name} ({kind})"


def _images(record: Record) -> str:
    count = len(record.images)
    return record.images[0].name if count == 1 else f"{count:,} images"
