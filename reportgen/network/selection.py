"""Patterns select among the nodes of a network."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reportgen.entities import Layer
from reportgen.errors import UsageError
from reportgen.names import did_you_mean


@dataclass(frozen=True)
class Selection:
    """The layers to draw, and the titles (aliases) that some of them bear."""

    names: frozenset[str]
    titles: Mapping[str, str]


def select(
    layers: Sequence[Layer],
    nodes: Mapping[str, str] | None = None,
    exclude: Sequence[str] = (),
) -> Selection:
    """Select layers by pattern; no pattern means every layer.

    A pattern is a node's exact name, a module's path (meaning the last node inside it, as torchvision has it),
    or a glob (`layer1.*`; `*` also spans dots). `nodes` maps each pattern to a title, `""` for none.

    Raises UsageError for a pattern that matches nothing, with the nearest names, and when nothing is left.
    """
    known = [layer.name for layer in layers]
    titles: dict[str, str] = {}
    for pattern, title in (nodes or {}).items():
        for name in _matches(pattern, known):
            titles[name] = title or titles.get(name, "")
    names = set(titles) if nodes else set(known)
    for pattern in exclude:
        names.difference_update(_matches(pattern, known))
    if not names:
        raise UsageError("no node is left to draw: --exclude takes away all that --nodes selects")
    return Selection(frozenset(names), {name: title for name, title in titles.items() if title})


def _matches(pattern: str, known: Sequence[str]) -> list[str]:
    if pattern in known:
        return [pattern]
    inside = [name for name in known if name.startswith(f"{pattern}.")]
    if inside:
        return [inside[-1]]
    found = fnmatch.filter(known, pattern) if any(sign in pattern for sign in "*?[") else []
    if not found:
        raise UsageError(
            f"no node matches '{pattern}'; {did_you_mean(pattern, _candidates(known))} "
            "`reportgen nodes MODEL` lists them all"
        )
    return found


def _candidates(known: Sequence[str]) -> list[str]:
    """Every node name and every module path that leads to one."""
    paths = {name.rsplit(".", depth)[0] for name in known for depth in range(1, name.count(".") + 1)}
    return sorted({*known, *paths})
