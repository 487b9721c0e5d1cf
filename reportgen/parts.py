"""What a model returns, taken apart: the tensors inside tuples, dicts, dataclasses, each with a name."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

import torch
from torch import nn

MOST_NESTED = 12
"""A container inside so many others is not looked into."""
MOST_ATTRIBUTES = 64
"""An object with more attributes than this is no container of results."""


def flatten(value: object) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor inside `value` with its name, depth first, in the containers' own order.

    A name is the way to the tensor, joined by dots: keys of mappings (`logits`; Hugging Face's outputs are
    mappings), fields of dataclasses, named tuples and torch's return types, indices of tuples and lists
    (`hidden_states.3`, `0.boxes`), and attributes of other small objects. A lone tensor's name is empty. A tensor
    found in two places is yielded twice. What holds itself is not entered again; modules, classes and everything
    else that is not one of these are skipped, so that no model is taken for a value.
    """
    yield from _flatten(value, (), ())


def _flatten(value: object, way: tuple[str, ...], above: tuple[int, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield ".".join(way), value
    elif len(above) < MOST_NESTED and id(value) not in above:
        for key, part in _members(value):
            yield from _flatten(part, (*way, key), (*above, id(value)))


def _members(value: object) -> Iterable[tuple[str, object]]:
    """The named parts of a container; nothing for what is none."""
    if isinstance(value, Mapping):
        return ((str(key), part) for key, part in value.items())
    if isinstance(value, tuple | list):
        return zip(_places(value), value, strict=True)
    if isinstance(value, type | ModuleType | nn.Module):
        return ()
    if dataclasses.is_dataclass(value):
        return ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    attributes = getattr(value, "__dict__", {})
    return attributes.items() if len(attributes) <= MOST_ATTRIBUTES else ()


def _places(value: tuple[object, ...] | list[object]) -> Iterable[str]:
    """The names of a sequence's places: those of a named tuple or of torch's return types, else the indices."""
    names: tuple[str, ...] = getattr(value, "_fields", ()) or getattr(value, "__match_args__", ())
    return names if len(names) == len(value) else map(str, range(len(value)))
