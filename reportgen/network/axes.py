"""Axes as products of atoms: what a reshape, a permute or a slice makes of images, channels and positions.

Every axis of a value is a row-major product of atoms, each a piece of one meaning: N image, C channel, D frame, H
row, W column, L token, K key of attention, ? unknown. A reshape splits and merges atoms, a permute moves them. So a
value in windows, in heads or in tokens can be put together to maps again exactly, with nothing guessed.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from reportgen.entities import Run

POSITIONS = "DHW"


@dataclass(frozen=True)
class Atom:
    """A piece of an axis: `size` steps, each `stride` positions apart on the axis it was split from.

    `runs` are the kinds of tokens of an L atom, in order. `of` is the axis of positions that a K atom stands for.
    """

    kind: str
    size: int
    stride: int = 1
    runs: tuple[Run, ...] = ()
    of: tuple["Atom", ...] = ()


Axis = tuple[Atom, ...]
"""() is an axis of one step that means nothing."""

Axes = tuple[Axis, ...]


def size_of(axis: Axis) -> int:
    """How many steps the axis has."""
    return math.prod(atom.size for atom in axis)


def kinds_of(axis: Axis) -> set[str]:
    return {atom.kind for atom in axis}


def axis(kind: str, size: int) -> Axis:
    return (Atom(kind, size),)


def unknown(shape: Iterable[int]) -> Axes:
    return tuple(() if size == 1 else axis("?", size) for size in shape)


def is_known(one: Axis) -> bool:
    return "?" not in kinds_of(one)


def absorbs(one: Axis) -> bool:
    """Whether the axis is channels, with all that was merged into them: the positions of a flattened map."""
    kinds = kinds_of(one)
    return "C" in kinds and "N" not in kinds


def is_position(one: Axis) -> bool:
    """Whether the axis is positions or tokens, and nothing else but images."""
    kinds = kinds_of(one)
    return bool(kinds & set("DHWL")) and not kinds & set("CK?")


def reshape(axes: Axes, shape: Sequence[int]) -> Axes:
    """Return the axes after a row-major reshape to `shape`; from where sizes don't divide on, they are unknown."""
    atoms = [atom for one in axes for atom in one]
    made: list[Axis] = []
    for size in shape:
        taken = _take(atoms, size)
        if taken is None:
            return (*made, *unknown(shape[len(made) :]))
        made.append(taken)
        if size > 1:
            _absorb_ones(atoms, made, shape)
    if atoms and made:  # what is left has one step each
        made[-1] = (*made[-1], *atoms)
    return tuple(made)


def _take(atoms: list[Atom], size: int) -> Axis | None:
    """Take atoms worth `size` steps from the front, splitting the last one; None where that can't be."""
    if size == 1:
        return (atoms.pop(0),) if atoms and atoms[0].size == 1 else ()
    taken: list[Atom] = []
    while size > 1:
        if not atoms:
            return None
        atom = atoms.pop(0)
        if atom.size == 0:
            return None
        if size % atom.size == 0:
            size //= atom.size
            taken.append(atom)
        elif atom.size % size == 0 and not atom.runs and not atom.of:
            inner = atom.size // size
            taken.append(replace(atom, size=size, stride=atom.stride * inner))
            atoms.insert(0, replace(atom, size=inner))
            size = 1
        else:
            return None
    return merge(taken)


def _absorb_ones(atoms: list[Atom], made: list[Axis], shape: Sequence[int]) -> None:
    """Atoms of one step go with the axis before them when no axis of one step follows."""
    follows = shape[len(made)] if len(made) < len(shape) else 0
    while atoms and atoms[0].size == 1 and follows != 1:
        one = atoms.pop(0)
        if one.kind != "C" or not is_position(made[-1]):  # one channel makes no channels of positions
            made[-1] = (*made[-1], one)


def merge(atoms: Iterable[Atom]) -> Axis:
    """Join neighbours that are pieces of one axis again: rows in strides of 7, and the 7 rows between."""
    merged: list[Atom] = []
    for atom in atoms:
        last = merged[-1] if merged else None
        whole = last and last.kind == atom.kind and atom.kind in "CDHW" and last.stride == atom.stride * atom.size
        if last and whole:
            merged[-1] = replace(atom, size=last.size * atom.size)
        else:
            merged.append(atom)
    return tuple(merged)


def chain(atoms: Sequence[Atom]) -> list[Atom] | None:
    """Put pieces of one axis in order, the widest stride first; None where they don't make a whole."""
    ordered = sorted((atom for atom in atoms if atom.size > 1), key=lambda atom: -atom.stride)
    if not ordered:
        return list(atoms[:1])
    for outer, inner in itertools.pairwise(ordered):
        if outer.stride != inner.stride * inner.size:
            return None
    return ordered


def runs_of(one: Axis) -> tuple[Run, ...]:
    """Say which tokens an axis is: a grid of positions, tokens with names, or tokens of no known kind."""
    size = size_of(one)
    if len(one) == 1 and one[0].kind == "K":
        return runs_of(one[0].of)
    if len(one) == 1 and one[0].kind == "L":
        return one[0].runs or (Run(size, "token"),)
    grid = tuple(atom.size for atom in one)
    if one and kinds_of(one) <= set(POSITIONS) and len(kinds_of(one)) == len(one):
        return (Run(size, "", grid),)
    return (Run(size, "token"),)


def axis_of_runs(runs: Sequence[Run]) -> Axis:
    """The axis of a sequence of tokens; one grid alone is its rows and columns."""
    joined: list[Run] = []
    for run in runs:
        if joined and not run.grid and not joined[-1].grid and joined[-1].label == run.label:
            joined[-1] = Run(joined[-1].size + run.size, run.label)
        elif run.size:
            joined.append(run)
    if len(joined) == 1 and joined[0].grid:
        return grid_axis(joined[0].grid)
    return (Atom("L", sum(run.size for run in joined), runs=tuple(joined)),)


def grid_axis(grid: Sequence[int]) -> Axis:
    """The axis of a grid of one to three sides: columns, rows before them, frames before those."""
    kinds = POSITIONS[len(POSITIONS) - len(grid) :]
    return tuple(Atom(kind, size) for kind, size in zip(kinds, grid, strict=True))


def cut(one: Axis, start: int, size: int, step: int = 1) -> Axis:
    """The axis of the steps `start`, `start + step` ...: `size` of them."""
    if size == size_of(one) and step == 1:
        return one
    kinds = kinds_of(one)
    if kinds == {"C"}:
        return axis("C", size)
    if len(one) == 1 and one[0].kind in "DHWN" and one[0].stride == 1:
        return axis(one[0].kind, size)
    if len(one) > 1 and one[0].kind == "C" and step == 1:
        return _cut_outer(one, start, size)
    if step == 1 and (kinds == {"L"} or (len(runs_of(one)) == 1 and runs_of(one)[0].grid)):
        return axis_of_runs(_cut_runs(runs_of(one), start, size))
    return axis("?", size) if size != 1 else ()


def _cut_outer(one: Axis, start: int, size: int) -> Axis:
    """Whole steps of the outermost atom: the first of two frames whose images stand one after the other."""
    inner = size_of(one[1:])
    if start % inner or size % inner:
        return axis("?", size)
    return one[1:] if size == inner else (Atom("C", size // inner), *one[1:])


def _cut_runs(runs: Sequence[Run], start: int, size: int) -> list[Run]:
    kept: list[Run] = []
    begin = 0
    for run in runs:
        length = min(begin + run.size, start + size) - max(begin, start)
        if length == run.size:
            kept.append(run)
        elif length > 0:
            kept.append(Run(length, run.label or "token"))
        begin += run.size
    return kept


def join(parts: Sequence[Axis]) -> Axis:
    """The axis of parts that are put one after the other."""
    total = sum(map(size_of, parts))
    kinds = set().union(*map(kinds_of, parts))
    if kinds == {"N"} and len(set(parts)) == 1:  # several sets of the images, one after the other
        return (Atom("C", len(parts)), *parts[0])
    if "C" in kinds:
        return axis("C", total)
    if len(kinds) == 1 and all(len(part) == 1 for part in parts) and kinds <= set("DHW"):
        return axis(kinds.pop(), total)
    if kinds & set("DHWL") and "N" not in kinds and "K" not in kinds:
        return axis_of_runs([run for part in parts for run in runs_of(part)])
    return axis("?", total)


def map_of_each(axes: Axes) -> tuple[Axes, Axis] | None:
    """The axes of values that are a map for each position of another grid, or for each of some tokens.

    The map is the rows and columns that are an axis each, or the keys that are. The others, whose axis is returned
    beside the axes, are its channels then: a correlation volume has a map of the second picture for each position
    of the first, a set of masks one for each query. None where the pieces may be those of one grid, as windows are,
    and for attention, whose keys are one axis.
    """
    flat = [(place, one) for place, one in enumerate(axes) if _is_set_of_places(one)]
    sides = {place: _side_kind(one) for place, one in enumerate(axes) if place not in dict(flat)}
    found = [kind for kind in sides.values() if kind]
    keyed = any("K" in kinds_of(one) for one in axes)
    if len(flat) != 1 or found not in (["H", "W"], ["W", "H"]):
        return None
    place, others = flat[0]
    if keyed and kinds_of(others) - set("NL"):
        return None
    maps = [axis(kind, size_of(one)) if (kind := sides.get(number, "")) else one for number, one in enumerate(axes)]
    maps[place] = tuple(atom if atom.kind == "N" else Atom("C", atom.size) for atom in others)
    return tuple(maps), tuple(atom for atom in others if atom.kind != "N")


def _is_set_of_places(one: Axis) -> bool:
    """Whether an axis is a whole grid or tokens, of each image or of all; windows are a part of a grid."""
    places = [atom for atom in one if atom.kind != "N"]
    whole = len(places) > 1 or kinds_of(one) in ({"L"}, {"N", "L"})
    return is_position(one) and whole and all(atom.stride == 1 for atom in places)


def _side_kind(one: Axis) -> str:
    """H or W where that is all that an axis is, itself or as keys."""
    side = one[0].of if len(one) == 1 and one[0].kind == "K" else one
    plain = len(side) == 1 and side[0].kind in "HW" and side[0].stride == 1
    return (
        side[0].kind
        if plain
        else ""
        if is_known(one) and not is_position(one) and "K" not in kinds_of(one)
        else "?"
    )


@lru_cache(maxsize=1024)
def layout_of(axes: Axes) -> str:
    """A letter an axis, in parentheses what was merged into one; empty where an axis is unknown.

    Channels absorb what they were merged with. A whole grid in one axis is L, as is the one side of a line.
    """
    if not all(map(is_known, axes)):
        return ""
    flat = not any(atom.kind == "H" for one in axes for atom in one if not absorbs(one))
    return "".join(_letter(one, flat) for one in axes)


def _letter(one: Axis, flat: bool) -> str:
    kinds = list(dict.fromkeys(atom.kind for atom in one))
    if absorbs(one):
        return "C"
    if not kinds:
        return "1"
    if len(kinds) == 1:
        return "L" if flat and kinds == ["W"] else kinds[0]
    if kinds in (["H", "W"], ["D", "H", "W"]) and len(one) == len(kinds):
        return "L"
    return f"({''.join(kinds)})"
