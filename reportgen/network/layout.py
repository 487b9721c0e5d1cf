"""Which axis of a value is which, decided from the operations that make and use it, and its maps and tokens.

The axes of every value are followed through the network (`axes`, `operations`): convolutions and pooling say what
is a channel and what a position, reshapes and permutes move these, elementwise operations keep them. A value that
nothing speaks for is not drawn as a map: a guess could be wrong without anybody noticing.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch

from reportgen.entities import Reading, Run, describe_runs
from reportgen.network.axes import (
    POSITIONS,
    Atom,
    Axes,
    Axis,
    absorbs,
    chain,
    grid_axis,
    is_known,
    kinds_of,
    layout_of,
    map_of_each,
    runs_of,
    size_of,
)
from reportgen.numerics.real import as_real

_remembered = lru_cache(maxsize=1024)
"""A network has few kinds of axes, and a walk asks for the same ones for each image."""
MOST_TOKENS = 8
"""Up to so many tokens of a kind are drawn as vectors, one by one."""


def read(value: object, axes: Axes | None, images: int, *, parameter: bool = False, wanted: bool = True) -> Reading:
    """Return how `value` is read, given its axes; maps and vectors are made only when `wanted`."""
    if not isinstance(value, torch.Tensor):
        return Reading("", None, _describe_container(value))
    layout = layout_of(axes) if axes is not None else ""
    if parameter:
        return Reading(layout, None, "a parameter of the model: the same for every image")
    if not wanted:
        return Reading(layout, None)
    if axes is None or not layout:
        return Reading("", None, _why_unread(value, axes, images))
    return _read_known(value, axes, images, layout)


def _read_known(value: torch.Tensor, axes: Axes, images: int, layout: str) -> Reading:
    shape = _shape(value)
    sides = [atom.kind for one in axes if not absorbs(one) for atom in one]
    each = map_of_each(axes) if _order(_pieces(axes)) is None else None
    if "K" in sides and each is None:
        return Reading(layout, None, _why_attention(axes, shape), description=_describe(axes))
    missing = _why_no_images(axes, images, shape)
    if missing or not value.numel():
        return Reading(layout, None, missing or f"an empty value ({shape})")
    plain = as_real(value.detach())  # a parameter that an operation handed on still asks for gradients
    if each is not None:
        return Reading(layout_of(each[0]), fold(plain, each[0], images), description=_describe_each(each[1]))
    token = next((place for place, one in enumerate(axes) if kinds_of(one) == {"L"}), None)
    if token is not None:
        return _read_tokens(plain, axes, images, layout, token, value)
    if not set(sides) & set("HW"):
        return Reading(layout, None, _why_vector(value, axes, layout, shape), description=_describe(axes))
    maps = fold(plain, axes, images)
    why = "" if maps is not None else f"the windows of a tensor of {shape} don't fit together to whole maps"
    return Reading(layout, maps, why, description=_describe(axes), frames=_frames(axes))


def _read_tokens(
    plain: torch.Tensor, axes: Axes, images: int, layout: str, token: int, value: torch.Tensor
) -> Reading:
    """A sequence with tokens besides its grid: the grid as maps, the others as vectors."""
    runs, description = runs_of(axes[token]), _describe(axes)
    maps, start, frames = None, 0, 1
    vectors: dict[str, torch.Tensor] = {}
    grids = [run for run in runs if run.grid]
    for run in runs:
        piece = plain.narrow(token, start, run.size)
        if run.grid and len(grids) == 1:
            folded = _replaced(axes, token, grid_axis(run.grid))
            maps, frames = fold(piece, folded, images), _frames(folded)
        elif not run.grid and run.label != "token" and run.size <= MOST_TOKENS:
            vectors |= _vectors(piece, axes, token, run, images)
        start += run.size
    reason = "" if maps is not None else _why_no_grid(value, axes, token, runs)
    return Reading(layout, maps, reason, vectors, description, frames)


def _vectors(piece: torch.Tensor, axes: Axes, token: int, run: Run, images: int) -> dict[str, torch.Tensor]:
    front = next((place for place, one in enumerate(axes) if "N" in kinds_of(one)), None)
    if front is not None and kinds_of(axes[front]) != {"N"}:
        return {}
    found = {}
    for number in range(run.size):
        one = piece.select(token, number)
        place = front if front is None or front < token else front - 1
        rows = (one if place is None else one.movedim(place, 0)).reshape(images, -1)
        found[f"{run.label} {number + 1}" if run.size > 1 else run.label] = rows
    return found


def fold(value: torch.Tensor, axes: Axes, images: int) -> torch.Tensor | None:
    """Return a value as maps (images, C, H, W), frames side by side; None where its pieces make no whole.

    A view of `value` where strides allow it.
    """
    pieces = _pieces(axes)
    order = _order(pieces)
    if order is None:
        return None
    split = value.reshape([atom.size for atom in pieces])
    sizes = {kind: math.prod(atom.size for atom in pieces if atom.kind == kind) for kind in "NCDHW"}
    if sizes["N"] != images:
        return None
    maps = split.permute(order)
    return maps.reshape(images, sizes["C"], sizes["H"], sizes["D"] * sizes["W"])


@_remembered
def _pieces(axes: Axes) -> tuple[Atom, ...]:
    """The atoms that a value is split into, in the order of its axes."""
    return tuple(atom for one in axes for atom in ([Atom("C", size_of(one))] if absorbs(one) else one))


@_remembered
def _order(pieces: tuple[Atom, ...]) -> tuple[int, ...] | None:
    """The order of the pieces in a map: images, channels, rows, frames, columns, each from the widest stride."""
    order: list[int] = []
    for kind in "NCHDW":
        places = [place for place, atom in enumerate(pieces) if atom.kind == kind]
        if kind in POSITIONS:
            if chain([pieces[place] for place in places]) is None and places:
                return None
            places.sort(key=lambda place: -pieces[place].stride)
        order += places
    return tuple(order) if len(order) == len(pieces) else None


def _replaced(axes: Axes, place: int, one: Axis) -> Axes:
    return (*axes[:place], one, *axes[place + 1 :])


def _shape(value: torch.Tensor) -> str:
    return " × ".join(map(str, value.shape))


def _why_no_images(axes: Axes, images: int, shape: str) -> str:
    counted = math.prod(atom.size for one in axes for atom in one if atom.kind == "N")
    there = any("N" in kinds_of(one) for one in axes)
    if there and counted != images:
        return f"a value of {shape} whose first axis is not the {images} images"
    if not there and images > 1:
        return f"a tensor of {len(axes)} axes ({shape}): none of them is the images"
    return ""


def _why_unread(value: torch.Tensor, axes: Axes | None, images: int) -> str:
    shape = _shape(value)
    regions = axes is not None and len(axes) == 4 and not is_known(axes[0]) and all(map(is_known, axes[1:]))
    if regions and value.shape[0] != images:
        sides = f"{value.shape[2]} × {value.shape[3]}"
        return (
            f"{value.shape[0]} regions or sets of {value.shape[1]} channels, {sides} each, which are not the images"
        )
    if value.dim() == 4:
        return f"a tensor of {shape}: no operation says which of its axes are channels and positions"
    return f"a tensor of {value.dim()} axes ({shape or 'a single number'}): it is not a set of maps"


def _why_vector(value: torch.Tensor, axes: Axes, layout: str, shape: str) -> str:
    if layout == "NC":
        return f"a vector of {value.shape[1]} values an image: it has no positions to draw as a map"
    return f"a tensor of {len(axes)} axes ({shape or 'a single number'}): it has no positions to draw as a map"


def _why_no_grid(value: torch.Tensor, axes: Axes, token: int, runs: Sequence[Run]) -> str:
    count = value.shape[token]
    if sum(bool(run.grid) for run in runs) > 1:
        return f"{count} tokens of {sum(bool(run.grid) for run in runs)} grids, which are no one map"
    rest = value.shape[-1] if "C" in kinds_of(axes[-1]) else 0
    channels = f" of {rest} channels" if rest else ""
    return f"{count} token{'s' if count > 1 else ''}{channels}: no grid of positions to draw as a map"


def _why_attention(axes: Axes, shape: str) -> str:
    keys = next(size_of(one) for one in axes if "K" in kinds_of(one))
    queries = next((size_of(one) for one in reversed(axes) if kinds_of(one) & set("DHWL")), 0)
    weights = f"weights of {queries:,} queries for {keys:,} keys ({shape})"
    return f"{weights}: no maps; drawn as attention where a softmax makes them"


@_remembered
def _describe(axes: Axes) -> str:
    """Say in words what was read, where that is more than channels and positions."""
    said = [_describe_tokens(one) for one in axes]
    said.append(_describe_windows(axes))
    if _frames(axes) > 1:
        said.append(f"{_frames(axes)} frames, side by side")
    return "; ".join(part for part in said if part)


@_remembered
def _frames(axes: Axes) -> int:
    """How many frames there are, 1 where there is no such axis."""
    return math.prod(atom.size for one in axes for atom in one if atom.kind == "D" and not absorbs(one))


def _describe_tokens(one: Axis) -> str:
    """`197 tokens = 1 class token + 14 × 14`."""
    kinds = kinds_of(one)
    if kinds == {"L"} or (len(kinds) > 1 and kinds <= set(POSITIONS)):
        noun = "token"
    elif kinds == {"K"}:
        noun = "key"
    else:
        return ""
    return describe_runs(runs_of(one), noun)


def _describe_each(others: Axis) -> str:
    """`a map for each of 256 positions = 16 × 16`."""
    runs = runs_of(others)
    return f"a map for each of {describe_runs(runs, 'position' if all(run.grid for run in runs) else 'token')}"


def _describe_windows(axes: Axes) -> str:
    pieces = [atom for one in axes if not absorbs(one) for atom in one if atom.kind in "HW"]
    by_kind: Mapping[str, list[Atom]] = {kind: [atom for atom in pieces if atom.kind == kind] for kind in "HW"}
    if not any(len(atoms) > 1 for atoms in by_kind.values()):
        return ""
    whole = " × ".join(str(math.prod(atom.size for atom in atoms)) for atoms in by_kind.values() if atoms)
    return f"windows, put together to {whole}"


def _describe_container(value: object) -> str:
    """Say what a value is that is no tensor."""
    if value is None or isinstance(value, bool | int | float | str):
        return f"a value of type {type(value).__name__}, not a tensor"
    if isinstance(value, torch.Size):
        return f"a size of {len(value)} numbers, not a tensor"
    if isinstance(value, tuple | list | dict):
        kind = type(value).__name__
        return f"a {kind} of {len(value)} values, each a node of its own where it is read"
    return f"a {type(value).__name__}, not a tensor"
