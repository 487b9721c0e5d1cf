"""Pages become HTML: the Jinja environment, the static files, and every page of a record."""

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import jinja2
from markupsafe import Markup

from reportgen.names import slugify
from reportgen.site.axes import axes, operation, shape, values
from reportgen.site.captions import Captions, replace_controls, to_html, unknown_references, unmatched
from reportgen.site.channels import channels_script
from reportgen.site.head import PREVIEW, head_of, preview
from reportgen.site.illustrations import Gallery
from reportgen.site.numbering import PREFIX
from reportgen.site.pages import LayerPage, Link, Page, Pages
from reportgen.site.record import ModelEntry, Record
from reportgen.site.theme import Theme, hashed, templates_directory
from reportgen.site.tree import Branch, Gap

__all__ = ["STATIC", "Rendered", "check_theme", "render", "templates_directory"]

LAYERS = "layers.js"
STATIC = (
    "site.css",
    "site.js",
    LAYERS,
    "filter.js",
    "sidebar.js",
    "keys.js",
    "channels.js",
    "matrix.js",
    "turn.js",
    "print.js",
    "icon.svg",
)
"""The files that every page loads, in this order: those of templates/static, and the list of layers."""

_PLACES = {"index": "index", "about": "about", "layer": "layers", "image": "images", "figure": "figures"}
"""Where captions lie, by what templates call them."""


@dataclass(frozen=True)
class Rendered:
    """The files that make up the pages of a site, by path, and what to tell the user about captions and templates.

    `files` are texts: pages, style sheets, scripts; `binaries` are other static files. A page is made each time
    that it is asked for, so that never more than one needs to be in memory.
    """

    files: Mapping[str, str]
    warnings: Sequence[str]
    binaries: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def contents(self) -> dict[str, str | bytes]:
        """All files, whatever they hold."""
        return dict(self.items())

    def items(self) -> Iterator[tuple[str, str | bytes]]:
        """Yield the path and content of each file, one after the other."""
        yield from self.binaries.items()
        yield from self.files.items()


def render(record: Record, theme: Theme | None = None) -> Rendered:
    """Return every page of `record` and the static files they use.

    Raises UsageError, naming file and line, when a template of the user's in `theme` fails.
    """
    renderer = _Renderer(record, theme or Theme())
    # Templates of the user's fail here, before anything is written, and say only then what they did not use.
    files = dict(renderer.items()) if theme is not None and theme.directory else renderer
    return Rendered(files, renderer.warnings(), renderer.binaries)


def check_theme(theme: Theme) -> None:
    """Raise UsageError for a template of `theme` that can't be parsed, before any page needs it."""
    theme.check(_environment(theme))


class _Renderer(Mapping[str, str]):
    def __init__(self, record: Record, theme: Theme) -> None:
        self._record = record
        self._pages = Pages(record)
        self._captions = Captions(record.captions)
        self._gallery = Gallery(record.illustrations)
        self._theme = theme
        self._html = cache(self._to_html)
        self._preview = preview(record)
        self._static = dict(_static_files(theme, self._pages.layers_script))
        self.binaries = {path: data for path, data in theme.static.values() if isinstance(data, bytes)}
        self._environment = _environment(theme)
        self._environment.globals.update(
            record=record,
            kinds={kind.name: kind for kind in record.kinds},
            has_similarity=self._pages.has_similarity,
            images={image.id: image for image in record.images},
            stylesheets=[path for path in self._static if path.endswith(".css")],
            scripts=[path for path in self._static if path.endswith(".js")],
            static=theme.static_address,
        )
        theme.check(self._environment)

    def __getitem__(self, path: str) -> str:
        return self._static[path] if path in self._static else self._makers[path]()

    def __contains__(self, path: object) -> bool:
        return path in self._static or path in self._makers

    def __iter__(self) -> Iterator[str]:
        yield from self._static
        yield from self._makers

    def __len__(self) -> int:
        return len(self._static) + len(self._makers)

    def items(self) -> ItemsView[str, str]:
        return _Files(self)

    def each(self) -> Iterator[tuple[str, str]]:
        """Yield the path and text of each file; each page is laid out once, and its numbers are written once."""
        yield from self._static.items()
        for path, make in self._pages.makers.items():
            page = make()
            name, numbers = _numbers_of(page)
            if name:
                yield name, numbers
            yield path, self._render(page, name)

    @cached_property
    def _makers(self) -> dict[str, Callable[[], str]]:
        """What makes each page, and each script of numbers, by its path."""
        makers: dict[str, Callable[[], str]] = {}
        for path, make in self._pages.makers.items():
            name, _ = _numbers_of(make())
            if name:
                makers[name] = partial(self._numbers, make)
            makers[path] = partial(self._page, make, name)
        return makers

    def _numbers(self, make: Callable[[], Page]) -> str:
        return _numbers_of(make())[1]

    def _page(self, make: Callable[[], Page], numbers: str) -> str:
        return self._render(make(), numbers)

    def warnings(self) -> list[str]:
        record = self._record
        unplaced = unmatched(
            self._captions,
            layers=[layer.name for layer in record.layers if layer.selected],
            images=[image.id for image in record.images],
            kinds=[kind.name for kind in record.kinds if kind.name != PREVIEW],
        )
        unknown = [
            f"captions/{place}.md: {self._unknown(name)}"
            for place, text in self._captions.texts.items()
            for name in unknown_references(text, self._address)
        ]
        pictures = self._gallery.missing(self._captions.texts)
        unused = self._theme.unused(self._environment, (kind.name for kind in record.kinds))
        return [*unplaced, *unknown, *pictures, *unused]

    def _unknown(self, name: str) -> str:
        if not name.startswith(PREFIX):
            return f"[[{name}]] is no node with a page"
        return f"[[{name}]] is no figure on a page; {self._pages.numbering.hint(name)}".rstrip("; ")

    def _address(self, name: str) -> str | None:
        """Where `[[name]]` leads, from the root of the site."""
        if name.startswith(PREFIX):
            place = self._pages.numbering.find(name)
            return place.address if place else None
        return self._pages.layer_address(name) or None

    def _label(self, name: str) -> str:
        place = self._pages.numbering.find(name) if name.startswith(PREFIX) else None
        return place.label if place else name

    def _render(self, page: Page, numbers: str) -> str:
        root = "../" * page.path.count("/")
        with self._theme.explaining():
            template = self._environment.get_template(page.template)
            head = head_of(page, self._record, self._preview)
            sidebar = self._pages.sidebar(page)
            context = {"page": page, "root": root, "head": head, "sidebar": sidebar, "numbers": numbers}
            return template.render(context, caption=self._caption_filter(root)) + "\n"

    def _caption_filter(self, root: str) -> Any:
        """Return the function that templates call for the user's text at a place."""

        def caption(group: str, name: str = "", level: int = 2) -> Markup:
            key = self._captions.key(_PLACES[group], name or None)
            text = self._captions.texts.get(key, "")
            # A text that stands on many pages is converted once, unless it has footnotes, whose ids differ.
            return self._html(key, root, slugify(f"{group}-{name}") if "[^" in text else "", level)

        return caption

    def _to_html(self, key: str, root: str, prefix: str, level: int) -> Markup:
        def link(name: str) -> str | None:
            address = self._address(name)
            return None if address is None else root + address

        return to_html(
            self._captions.texts.get(key, ""),
            link=link,
            prefix=prefix,
            label=self._label,
            level=level,
            illustrations=partial(self._gallery.find, key, root=root),
        )


class _Files(ItemsView[str, str]):
    """The files of a renderer one after the other, without asking for each by its path."""

    _mapping: _Renderer

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self._mapping.each()


def _environment(theme: Theme) -> jinja2.Environment:
    environment = theme.environment()
    environment.auto_reload = False
    environment.finalize = _printable
    environment.filters.update(
        axes=axes,
        number=number,
        operation=operation,
        plural=plural,
        shape=shape,
        sized=sized,
        tracer=tracer,
        values=values,
    )
    environment.tests["group"] = lambda part: hasattr(part, "parts")
    environment.tests["branch"] = lambda part: isinstance(part, Branch)
    environment.tests["gap"] = lambda part: isinstance(part, Gap)
    environment.tests["linked"] = lambda link: isinstance(link, Link) and bool(link.address)
    return environment


def _printable(value: Any) -> Any:
    """Replace the characters that HTML forbids, which names of files and errors may hold."""
    if type(value) is not str or (value.isascii() and value.isprintable()):
        return value
    return replace_controls(value)


def _numbers_of(page: Page) -> tuple[str, str]:
    """The path and text of the script with the numbers of a layer's channels; both empty where there is none."""
    text = channels_script(page) if isinstance(page, LayerPage) else ""
    name = f"channels/{page.path.removeprefix('layers/').removesuffix('.html')}.js"
    return (hashed(name, text) if text else ""), text


def _static_files(theme: Theme, layers: str) -> Iterator[tuple[str, str]]:
    """The texts among the static files in the order in which pages load them, the user's own after the built-in."""
    found = {**theme.static, LAYERS: (hashed(LAYERS, layers), layers)}
    for name in (*STATIC, *(name for name in found if name not in STATIC)):
        path, text = found[name]
        if isinstance(text, str):
            yield path, text


def tracer(model: ModelEntry) -> str:
    """How the nodes were found: by torch.fx ahead of the run, or as the model ran; another tracer by its name."""
    known = {"fx": "torch.fx, ahead of the run", "eager": "running the model and following each operation (eager)"}
    return known.get(model.tracer, model.tracer)


def sized(size: float) -> str:
    """A number of bytes or items for people, with a thousands separator."""
    return f"{size:,}"


def number(value: float | None) -> str:
    """Four significant digits and a true minus sign; `undefined` for None."""
    return "undefined" if value is None else f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def plural(count: int, noun: str) -> str:
    """`1 layer`, `70 layers`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
