"""Pages become HTML: the Jinja environment, the static files, and every page of a record."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import reportgen
from reportgen.names import slugify
from reportgen.site.axes import axes, operation, shape, values
from reportgen.site.captions import Captions, replace_controls, to_html, unknown_references, unmatched
from reportgen.site.pages import Link, Page, Pages
from reportgen.site.record import ModelEntry, Record
from reportgen.site.tree import Branch, Gap

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


def templates_directory() -> Path:
    """Return where the templates are: inside the installed package, or beside it in a checkout."""
    package = Path(reportgen.__file__).parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


@dataclass(frozen=True)
class Rendered:
    """The files that make up the pages of a site, by path, and what to tell the user about their captions.

    A page is made each time that it is asked for, so that never more than one needs to be in memory.
    """

    files: Mapping[str, str]
    warnings: Sequence[str]


def render(record: Record) -> Rendered:
    """Return every page of `record` and the static files they use."""
    renderer = _Renderer(record)
    return Rendered(renderer, renderer.warnings())


class _Renderer(Mapping[str, str]):
    def __init__(self, record: Record) -> None:
        self._record = record
        self._pages = Pages(record)
        self._captions = Captions(record.captions)
        self._static = dict(_static_files(templates_directory() / "static", self._pages.layers_script))
        self._environment = _environment(templates_directory())
        self._environment.globals.update(
            record=record,
            kinds={kind.name: kind for kind in record.kinds},
            has_similarity=self._pages.has_similarity,
            images={image.id: image for image in record.images},
            stylesheets=[path for path in self._static if path.endswith(".css")],
            scripts=[path for path in self._static if path.endswith(".js")],
            icon=next(path for path in self._static if path.endswith(".svg")),
        )

    def __getitem__(self, path: str) -> str:
        return self._static[path] if path in self._static else self._render(self._pages.makers[path]())

    def __contains__(self, path: object) -> bool:
        return path in self._static or path in self._pages.makers

    def __iter__(self) -> Iterator[str]:
        yield from self._static
        yield from self._pages.makers

    def __len__(self) -> int:
        return len(self._static) + len(self._pages.makers)

    def warnings(self) -> list[str]:
        record = self._record
        unplaced = unmatched(
            self._captions,
            layers=[layer.name for layer in record.layers if layer.selected],
            images=[image.id for image in record.images],
            kinds=[kind.name for kind in record.kinds],
        )
        unknown = [
            f"captions/{place}.md: [[{name}]] is no node with a page"
            for place, text in self._captions.texts.items()
            for name in unknown_references(text, lambda name: self._pages.layer_address(name) or None)
        ]
        return [*unplaced, *unknown]

    def _render(self, page: Page) -> str:
        root = "../" * page.path.count("/")
        template = self._environment.get_template(page.template)
        values = {"page": page, "root": root, "sidebar": self._pages.sidebar(page)}
        return template.render(**values, caption=self._caption_filter(root)) + "\n"

    def _caption_filter(self, root: str) -> Any:
        """Return the function that templates call for the user's text at a place."""

        def link(name: str) -> str | None:
            address = self._pages.layer_address(name)
            return root + address if address else None

        def caption(group: str, name: str = "", level: int = 2) -> Markup:
            text = getattr(self._captions, group)(name) if name else getattr(self._captions, group)
            return to_html(text, link=link, prefix=slugify(f"{group}-{name}"), level=level)

        return caption


def _environment(directory: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=True,  # select_autoescape() would leave *.html.jinja unescaped
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
        auto_reload=False,
    )
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


def _static_files(directory: Path, layers: str) -> Iterator[tuple[str, str]]:
    """Each static file under a name that changes with its content, so that no browser shows an old one."""
    for name in STATIC:
        text = layers if name == LAYERS else (directory / name).read_text(encoding="utf-8")
        stem, suffix = name.rsplit(".", 1)
        yield f"static/{stem}.{hashlib.sha256(text.encode()).hexdigest()[:10]}.{suffix}", text


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
