"""Runs of layers that lie in one module: what a matrix too large for every layer's name is labelled with."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Block:
    """The layers from `start` up to, without, `end`. `module`: the module that all lie in; None: not divisible."""

    start: int
    end: int
    label: str
    module: str | None

    @property
    def size(self) -> int:
        return self.end - self.start


def module_blocks(names: Sequence[str], most: int) -> list[Block]:
    """Divide layers (by name, in execution order) into at most `most` runs, the largest module first.

    Layers beside modules form runs of their own. Where the modules inside one that holds half of all layers are too
    many, neighbours are put together.
    """
    blocks = [Block(0, len(names), _label(names), "")] if names else []
    while largest := max((block for block in blocks if block.module is not None), key=_size, default=None):
        room = most - len(blocks) + 1
        parts = _divide(names, largest)
        if len(parts) > room > 1 and 2 * largest.size >= len(names):
            parts = _merge(names, parts, room)
        if len(parts) > room:
            break
        place = blocks.index(largest)
        blocks[place : place + 1] = parts
    return blocks


def _size(block: Block) -> int:
    return block.size


def _divide(names: Sequence[str], block: Block) -> list[Block]:
    """The runs of a module's layers by the module right below it; one that is all in one module is that module."""
    module = block.module or ""
    parts: list[Block] = []
    for below, run in groupby(range(block.start, block.end), lambda place: _below(names[place], module)):
        places = list(run)
        start, end = places[0], places[-1] + 1
        parts.append(Block(start, end, below or _label(names[start:end]), below or None))
    return parts if len(parts) > 1 or parts[0].module else [Block(block.start, block.end, block.label, None)]


def _below(name: str, module: str) -> str:
    """The module right below `module` that a layer lies in, or an empty string for `module` itself."""
    rest = name[len(module) + 1 if module else 0 :]
    return f"{module}.{rest.split('.')[0]}".lstrip(".") if "." in rest else ""


def _merge(names: Sequence[str], parts: Sequence[Block], most: int) -> list[Block]:
    """Neighbours put together until there are `most` blocks."""
    ends = [round(len(parts) * (number + 1) / most) for number in range(most)]
    merged = []
    for first, last in zip([0, *ends], ends, strict=False):
        run = parts[first:last]
        if len(run) == 1:
            merged.append(run[0])
        else:
            start, end = run[0].start, run[-1].end
            ends_of = [run[0].module or names[start], run[-1].module or names[end - 1]]
            merged.append(Block(start, end, _label(ends_of), None))
    return merged


def _label(names: Sequence[str]) -> str:
    """`conv1`, or `conv1 to relu`; the second without the module that both lie in."""
    first, last = names[0], names[-1]
    if first == last:
        return first
    module = first.rpartition(".")[0]
    return f"{first} to {last[len(module) + 1 :] if module and last.startswith(f'{module}.') else last}"
