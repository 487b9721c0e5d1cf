"""A record becomes pages: what stands on each, in which order, and what it links to. Data only, no HTML."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from reportgen.site.lookup import Lookup
from reportgen.site.neighbourhood import Graph, Neighbourhood
from reportgen.site.numbering import Numbering
from reportgen.site.paging import Part, Weight, split, weigh
from reportgen.site.record import (
    DRAWN,
    FAILED,
    SKIPPED,
    FigureEntry,
    ImageEntry,
    KindEntry,
    LayerEntry,
    Record,
)
from reportgen.site.shown import SHOWN_MAP, Shown, show
from reportgen.site.tree import Branch, Gap, Group, Leaf, Row, around, flags_of, group_rows, layers_script

_THUMBNAILS = 4
_ROW_BUDGET = 11_500
"""So many elements may make up the rows of the index, each of five and a thumbnail an image."""
SIMILARITY_KINDS = ("layer_cka",)
UNNUMBERED_KINDS = ("colour_bar", "preview")
"""Kinds that pages use and don't show as figures."""


@dataclass(frozen=True)
class Link:
    """A place in the site, relative to its root; `address` is empty where there is no page to go to."""

    text: str
    address: str


@dataclass(frozen=True)
class Panel:
    """What a layer page shows for one image."""

    image: ImageEntry
    address: str
    seen: Shown | None
    figures: tuple[Shown, ...]
    top: str = ""
    """On the index, what the model takes the image for: `tabby, 62.3 %`; empty where it names no class."""


@dataclass(frozen=True)
class Frame:
    """One layer in the film strip of an image."""

    layer: LayerEntry
    address: str
    shown: Shown


@dataclass(frozen=True)
class Strip:
    """The film strip of one top-level module."""

    name: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class IndexPage:
    path = "index.html"
    template = "index.html.jinja"
    images: tuple[Panel, ...]
    groups: tuple[Group | Row, ...]
    tally: Mapping[str, int]
    unselected: int
    figures: tuple[Shown, ...]
    addresses: Mapping[str, str]
    thumbnails: int


@dataclass(frozen=True)
class Jump:
    """An image in the list of a layer's images; `address` is that of its panel, empty if that is on this page."""

    image: ImageEntry
    seen: Shown | None
    address: str


@dataclass(frozen=True)
class LayerPage:
    """A layer's own page (`part` 1 of `parts`), or one that continues it with further images."""

    template = "layer.html.jinja"
    path: str
    layer: LayerEntry
    before: Link | None
    after: Link | None
    reads: tuple[Link, ...]
    feeds: tuple[Link, ...]
    kinds: tuple[KindEntry, ...]
    panels: tuple[Panel, ...]
    summary: tuple[Shown, ...]
    bar: Shown | None
    graph: Neighbourhood
    addresses: Mapping[str, str]
    own: str
    part: int
    parts: tuple[Part, ...]
    jumps: tuple[Jump, ...]


@dataclass(frozen=True)
class SimilarityPage:
    path = "similarity.html"
    template = "similarity.html.jinja"
    figures: tuple[Shown, ...]
    addresses: Mapping[str, str]
    pictures: Mapping[str, str]
    """By layer's slug, the picture of the sum of its channels for the first image, as far as there is one."""


@dataclass(frozen=True)
class ImagePage:
    template = "image.html.jinja"
    path: str
    image: ImageEntry
    before: Link | None
    after: Link | None
    figures: tuple[Shown, ...]
    strips: tuple[Strip, ...]
    bar: Shown | None


@dataclass(frozen=True)
class AboutPage:
    path = "about.html"
    template = "about.html.jinja"
    tally: Mapping[str, int]
    addresses: Mapping[str, str]


Page = IndexPage | LayerPage | ImagePage | SimilarityPage | AboutPage
Sidebar = tuple[Leaf | Branch | Gap, ...]


class Pages:
    """Builds the pages of `record`; iterate over it."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._figures = Lookup(record)
        self.numbering = Numbering(record.figures, record.images, self._page_of)

    def __iter__(self) -> Iterator[Page]:
        return (make() for make in self.makers.values())

    @cached_property
    def makers(self) -> dict[str, Callable[[], Page]]:
        """What makes each page, by its address, in order: each is made when it is wanted, for there may be many."""
        makers: dict[str, Callable[[], Page]] = {IndexPage.path: self._index}
        for position, layer in enumerate(self._selected):
            for part in self._parts[layer.name]:
                makers[part.address] = partial(self._layer, position, part)
        for position, image in enumerate(self._record.images):
            makers[image_address(image)] = partial(self._image, position)
        if self.has_similarity:
            makers[SimilarityPage.path] = self._similarity
        return {**makers, AboutPage.path: lambda: AboutPage(self._tally, self._addresses)}

    def _similarity(self) -> SimilarityPage:
        similar = tuple(self._show(figure) for figure in self._spanning if figure.kind in SIMILARITY_KINDS)
        return SimilarityPage(similar, self._addresses, self._pictures)

    @cached_property
    def _parts(self) -> dict[str, tuple[Part, ...]]:
        """The pages of each layer."""
        return {layer.name: self._split(layer) for layer in self._selected}

    def _split(self, layer: LayerEntry) -> tuple[Part, ...]:
        images = [image.id for image in self._record.images if self._figures.has(layer.name, image.id)]
        panels = ((image, self._figures.of(layer.name, image)) for image in images)
        return split(layer, panels, sum(map(weigh, self._figures.of(layer.name, None)), start=Weight(0, 0)))

    def panel_address(self, layer: str, image: str) -> str:
        """Return the address of what a layer's pages show for an image; of its own page if that is nothing."""
        drawn = any(image in part.images for part in self._parts[layer])
        return self._layer_page_of(layer, image) + (f"#{image}" if drawn else "")

    def _page_of(self, figure: FigureEntry) -> str:
        """The page that shows a figure in full, with its caption; empty where none does."""
        image = self._images.get(figure.image or "")
        if figure.image and image is None:
            return ""
        if figure.layer:
            return self._layer_page_of(figure.layer, figure.image)
        if image is not None:
            return image_address(image)
        if figure.kind in UNNUMBERED_KINDS:
            return ""
        return SimilarityPage.path if figure.kind in SIMILARITY_KINDS else IndexPage.path

    def _layer_page_of(self, layer: str, image: str | None) -> str:
        holding = (part.address for part in self._parts.get(layer, ()) if image in part.images)
        return next(holding, self.layer_address(layer))

    def _show(self, figure: FigureEntry) -> Shown:
        return show(figure, self.numbering.place(figure))

    def layer_address(self, name: str) -> str:
        """Return the address of a layer's page, or an empty string when it has none."""
        layer = self._by_name.get(name)
        return f"layers/{layer.slug}.html" if layer and layer.selected else ""

    @cached_property
    def _addresses(self) -> dict[str, str]:
        return {layer.name: self.layer_address(layer.name) for layer in self._record.layers}

    @cached_property
    def _pictures(self) -> dict[str, str]:
        first = self._record.images[0].id if self._record.images else ""
        found = ((layer.slug, self._figures.find(layer.name, first, "channel_sum")) for layer in self._selected)
        return {slug: figure.files[0] for slug, figure in found if figure}

    @cached_property
    def _bar(self) -> Shown | None:
        figure = self._figures.find(None, None, "colour_bar")
        return Shown(figure, figure.width, 10, crisp=False) if figure else None

    @cached_property
    def _spanning(self) -> list[FigureEntry]:
        """The figures that span layers and images."""
        return self._figures.of(None, None)

    @cached_property
    def has_similarity(self) -> bool:
        """Whether the site has a similarity page."""
        return any(figure.kind in SIMILARITY_KINDS for figure in self._spanning)

    @cached_property
    def _by_name(self) -> dict[str, LayerEntry]:
        return {layer.name: layer for layer in self._record.layers}

    @cached_property
    def _images(self) -> dict[str, ImageEntry]:
        return {image.id: image for image in self._record.images}

    @cached_property
    def _selected(self) -> list[LayerEntry]:
        return [layer for layer in self._record.layers if layer.selected]

    @cached_property
    def _tally(self) -> dict[str, int]:
        return {
            status: sum(layer.status == status for layer in self._selected) for status in (DRAWN, SKIPPED, FAILED)
        }

    @cached_property
    def _feeds(self) -> dict[str, list[str]]:
        feeds: dict[str, list[str]] = defaultdict(list)
        for layer in self._record.layers:
            for parent in layer.parents:
                feeds[parent].append(layer.name)
        return feeds

    @cached_property
    def _graph(self) -> Graph:
        return Graph(self._record.layers, self._feeds)

    def _index(self) -> IndexPage:
        images = tuple(
            Panel(
                image,
                image_address(image),
                self._shown(None, image.id, "input", "seen", 160),
                (),
                self._top(image),
            )
            for image in self._record.images
        )
        unselected = len(self._record.layers) - len(self._selected)
        elsewhere = (*SIMILARITY_KINDS, *UNNUMBERED_KINDS)
        figures = tuple(self._show(figure) for figure in self._spanning if figure.kind not in elsewhere)
        return IndexPage(images, self._groups, self._tally, unselected, figures, self._addresses, self._thumbnails)

    def _top(self, image: ImageEntry) -> str:
        """The most probable class with its probability, from the first output that is class scores."""
        for figure in self._figures.of(None, image.id):
            if figure.kind == "predictions":
                return top_class(figure)
        return ""

    @cached_property
    def _rows(self) -> list[Row]:
        return [self._row(position, layer) for position, layer in enumerate(self._selected)]

    @cached_property
    def _groups(self) -> tuple[Group | Row, ...]:
        return group_rows(self._rows)

    @property
    def layers_script(self) -> str:
        """The script that tells the pages' scripts of all layers."""
        return layers_script(self._rows)

    def sidebar(self, page: Page) -> Sidebar:
        """Return what the sidebar of `page` lists."""
        position = self._positions[page.layer.name] if isinstance(page, LayerPage) else None
        return around(self._groups, position)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {layer.name: position for position, layer in enumerate(self._selected)}

    @cached_property
    def _thumbnails(self) -> int:
        """How many images have a thumbnail in each row of the index: with very many layers fewer, to open fast."""
        return max(0, min(_THUMBNAILS, _ROW_BUDGET // max(1, len(self._selected)) - 5))

    def _row(self, position: int, layer: LayerEntry) -> Row:
        images = self._record.images[: self._thumbnails]
        thumbnails = (self._shown(layer.name, image.id, "channel_sum", "", 56) for image in images)
        return Row(
            layer,
            position,
            layer.name.rsplit(".", 1)[-1],
            self.layer_address(layer.name),
            tuple(thumbnail for thumbnail in thumbnails if thumbnail),
            flags_of(layer, self._figures.find(layer.name, None, "health")),
        )

    def _layer(self, position: int, part: Part) -> LayerPage:
        layer = self._selected[position]
        spanning = self._figures.of(layer.name, None) if part.number == 1 else ()
        images = [image for image in self._record.images if image.id in part.images]
        everywhere = (None, *(image.id for image in self._record.images))
        present = {kind for image in everywhere for kind in self._figures.kinds(layer.name, image)}
        return LayerPage(
            path=part.address,
            layer=layer,
            before=self._neighbour(position - 1),
            after=self._neighbour(position + 1),
            reads=self._links(layer.parents),
            feeds=self._links(self._feeds.get(layer.name, [])),
            kinds=tuple(kind for kind in self._record.kinds if kind.name in present),
            panels=tuple(self._panel(layer, image) for image in images),
            summary=tuple(map(self._show, spanning)),
            bar=self._bar,
            graph=self._graph.around(layer.name),
            addresses=self._addresses,
            own=self.layer_address(layer.name),
            part=part.number,
            parts=self._parts[layer.name],
            jumps=tuple(self._jumps(layer, part)),
        )

    def _jumps(self, layer: LayerEntry, part: Part) -> Iterator[Jump]:
        addresses = {id: each.address for each in self._parts[layer.name] for id in each.images}
        for image in self._record.images:
            if image.id in addresses:
                elsewhere = "" if image.id in part.images else f"{addresses[image.id]}#{image.id}"
                yield Jump(image, self._shown(None, image.id, "input", "seen", 36), elsewhere)

    def _panel(self, layer: LayerEntry, image: ImageEntry) -> Panel:
        figures = tuple(self._show(figure) for figure in self._figures.of(layer.name, image.id))
        return Panel(image, image_address(image), self._shown(None, image.id, "input", "seen", SHOWN_MAP), figures)

    def _neighbour(self, position: int) -> Link | None:
        if not 0 <= position < len(self._selected):
            return None
        return self._links([self._selected[position].name])[0]

    def _links(self, names: Sequence[str]) -> tuple[Link, ...]:
        return tuple(Link(name, self.layer_address(name)) for name in names)

    def _image(self, position: int) -> ImagePage:
        image = self._record.images[position]
        return ImagePage(
            path=image_address(image),
            image=image,
            before=self._image_link(position - 1),
            after=self._image_link(position + 1),
            figures=tuple(self._show(figure) for figure in self._figures.of(None, image.id)),
            strips=self._strips(image),
            bar=self._bar,
        )

    def _image_link(self, position: int) -> Link | None:
        if not 0 <= position < len(self._record.images):
            return None
        image = self._record.images[position]
        return Link(image.name, image_address(image))

    def _strips(self, image: ImageEntry) -> tuple[Strip, ...]:
        strips: list[tuple[str, list[Frame]]] = []
        for layer in self._selected:
            shown = self._shown(layer.name, image.id, "channel_sum", "", 112)
            if not shown:
                continue
            module = layer.name.split(".")[0] if "." in layer.name else ""
            if not strips or strips[-1][0] != module:
                strips.append((module, []))
            strips[-1][1].append(Frame(layer, self.panel_address(layer.name, image.id), shown))
        return tuple(Strip(name, tuple(frames)) for name, frames in strips)

    def _shown(self, layer: str | None, image: str, kind: str, view: str, side: int) -> Shown | None:
        """The figure inside a square of `side` pixels, or None when there is none."""
        figure = self._figures.find(layer, image, kind, view)
        if figure is None:
            return None
        factor = side / max(figure.width, figure.height)
        width, height = (max(1, round(length * factor)) for length in (figure.width, figure.height))
        return Shown(figure, width, height, crisp=factor >= 1, place=self.numbering.place(figure))


def image_address(image: ImageEntry) -> str:
    """Return the address of an image's page."""
    return f"images/{image.id}.html"


def top_class(figure: FigureEntry) -> str:
    """The most probable class of a figure of predictions, with its probability: `tabby, 62.3 %`."""
    top = figure.data["top"]
    return f"{top[0][1]}, {figure.data['percent'][0]}" if top else "undefined"
