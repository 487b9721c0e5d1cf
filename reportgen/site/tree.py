"""The tree of modules: the layers of a report nested as the network nests them, whole or as seen from one layer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reportgen.site.axes import operation, shape
from reportgen.site.captions import replace_controls
from reportgen.site.record import DRAWN, FigureEntry, LayerEntry
from reportgen.site.shown import Shown

_WINDOW = 20
"""A level of the sidebar lists so many siblings before and after the current one; a long level all the same."""


@dataclass(frozen=True)
class Row:
    """A layer as the index lists it; `position` counts the layers that have pages, from 0."""

    layer: LayerEntry
    position: int
    label: str
    address: str
    thumbnails: tuple[Shown, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A module with its rows and its inner modules, in execution order."""

    name: str
    label: str
    parts: tuple["Group | Row", ...]

    @cached_property
    def count(self) -> int:
        """How many layers lie in the module, at any depth."""
        return sum(map(_size, self.parts))

    @cached_property
    def first(self) -> Row:
        """Its first layer."""
        part = self.parts[0]
        return part.first if isinstance(part, Group) else part


def group_rows(rows: Sequence[Row], path: str = "") -> tuple[Group | Row, ...]:
    """Nest rows by module path, keeping execution order: a module that runs twice is listed twice."""
    parts: list[Group | Row] = []
    start = 0
    while start < len(rows):
        module = _module_below(rows[start], path)
        end = start + 1
        while module and end < len(rows) and _module_below(rows[end], path) == module:
            end += 1
        parts.append(_group(module, path, rows[start:end]) if module else rows[start])
        start = end
    return tuple(parts)


def _module_below(row: Row, path: str) -> str:
    """The module right below `path` that the row's layer lies in, or an empty string for `path` itself."""
    rest = row.layer.name[len(path) + 1 if path else 0 :]
    return f"{path}.{rest.split('.')[0]}".lstrip(".") if "." in rest else ""


def _group(module: str, path: str, rows: Sequence[Row]) -> Group:
    parts = group_rows(rows, module)
    label = module[len(path) + 1 if path else 0 :]
    while len(parts) == 1 and isinstance(parts[0], Group):
        label, module, parts = f"{label}.{parts[0].label}", parts[0].name, parts[0].parts
    return Group(module, label, parts)


@dataclass(frozen=True)
class Leaf:
    """A layer in the sidebar."""

    row: Row
    current: bool


@dataclass(frozen=True)
class Branch:
    """A module in the sidebar: opened where the current layer lies in it, else its first layer alone."""

    group: Group
    open: bool
    parts: tuple["Leaf | Branch | Gap", ...]


@dataclass(frozen=True)
class Gap:
    """So many layers that the sidebar leaves out; the index lists them."""

    count: int


def around(groups: Sequence[Group | Row], current: int | None) -> tuple[Leaf | Branch | Gap, ...]:
    """Return the tree as seen from the layer at position `current`, or from none: only its modules are open."""
    at = next((index for index, part in enumerate(groups) if current is not None and _holds(part, current)), 0)
    low, high = max(0, at - _WINDOW), at + _WINDOW + 1
    before, after = (sum(map(_size, some)) for some in (groups[:low], groups[high:]))
    seen = [_seen(part, current) for part in groups[low:high]]
    return (*([Gap(before)] if before else []), *seen, *([Gap(after)] if after else []))


def _seen(part: Group | Row, current: int | None) -> Leaf | Branch:
    if isinstance(part, Row):
        return Leaf(part, part.position == current)
    inside = current is not None and _holds(part, current)
    parts = around(part.parts, current) if inside else (Leaf(part.first, current=False),)
    return Branch(part, inside, parts)


def _holds(part: Group | Row, position: int) -> bool:
    if isinstance(part, Row):
        return part.position == position
    return part.first.position <= position < part.first.position + part.count


def _size(part: Group | Row) -> int:
    return part.count if isinstance(part, Group) else 1


def flags_of(layer: LayerEntry, health: FigureEntry | None) -> tuple[str, ...]:
    """Return what a filter finds the layer by: its status unless it was drawn, and what its channels have."""
    status = () if layer.status == DRAWN else (layer.status,)
    counts: Mapping[str, int] = health.data.get("counts", {}) if health else {}
    return (*status, *(name.replace("_", "-") for name, count in counts.items() if count))


def layers_script(rows: Sequence[Row]) -> str:
    """Return the script that tells the pages' scripts of all layers: a line a layer, in execution order.

    Data as a classic script, since a page opened from disk may not fetch a file. A line holds the layer's name,
    slug, operation, title, flags and shape.
    """
    lines = ",\n".join(_line(row) for row in rows)
    return f"reportgen.layers = [\n{lines}\n];\n"


def _line(row: Row) -> str:
    layer = row.layer
    values = [layer.name, layer.slug, operation(layer), layer.title, " ".join(row.flags), shape(layer)]
    # In a packed report the script stands inside the page, where `</script>` would end it.
    text = json.dumps([replace_controls(value) for value in values], ensure_ascii=False, separators=(",", ":"))
    text = text.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")  # lines end there in older scripts
    return text.replace("<", "\\u003c")
