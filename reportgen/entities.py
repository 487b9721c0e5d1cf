"""The nouns that inputs, network and figures share. Plain values, and the words for tokens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from reportgen.names import plural


@dataclass(frozen=True)
class Layer:
    """One node of the graph. Its identity is `name`; `parents` are the names of the nodes it reads."""

    index: int
    name: str
    slug: str
    op: str
    target: str
    module_type: str
    parents: tuple[str, ...]
    detail: str = ""
    """What the operation is set to, for people: `64 to 128 channels, 3 × 3 kernel, stride 2`."""


@dataclass(frozen=True)
class InputImage:
    """One decoded image: `original` is upright 8-bit RGB, `seen` what the network was given, denormalised."""

    id: str
    name: str
    width: int
    height: int
    sha256: str
    note: str
    original: Image.Image
    seen: Image.Image


@dataclass(frozen=True)
class Batch:
    """Images and the tensor that the network is run on: (N, C, H, W), of clips (N, C, D, H, W); row i is image i's.

    `args` and `kwargs` are what the model is called with, where that is not the tensor alone: a list of images, a
    pair of frames, a keyword. The images of a batch that is not `drawn` feed statistics only. `one` gives a batch
    of the image at a place alone, as a model would be given it.
    """

    images: tuple[InputImage, ...]
    tensor: torch.Tensor
    drawn: bool = True
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    one: "Callable[[int], Batch] | None" = field(default=None, repr=False, compare=False)

    @property
    def singles(self) -> "Iterator[Batch]":
        """Each image in a batch of its own; the batch itself where it can't be divided."""
        if self.one is None or len(self.images) < 2:
            yield self
        else:
            yield from map(self.one, range(len(self.images)))

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of the model's call."""
        return (self.tensor,) if self.args is None else self.args


@dataclass(frozen=True)
class Run:
    """Tokens of one kind that follow each other in a sequence: `size` of them.

    `grid` is the grid of positions that they are, rows first: (14, 14), or (8, 14, 14) with frames; () for tokens
    without a position, and then `label` names them: "class token", "register token".
    """

    size: int
    label: str = ""
    grid: tuple[int, ...] = ()


def describe_runs(runs: Sequence[Run], noun: str = "token") -> str:
    """`197 tokens = 1 class token + 14 × 14`; where the tokens have no kinds, `100 tokens`."""
    counted = _counted(sum(run.size for run in runs), noun)
    nameless = any(not run.grid and not run.label for run in runs)
    plain = not runs or nameless or [run.label for run in runs] == ["token"]
    parts = [" × ".join(map(str, run.grid)) if run.grid else _counted(run.size, run.label) for run in runs]
    return counted if plain else f"{counted} = {' + '.join(parts)}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else plural(noun)}"


@dataclass(frozen=True)
class Reading:
    """How a value's axes are read.

    `layout` has a letter an axis (`NCHW`, `NHWC`, `NC`, `NLC`), or is empty when nothing says which axis is
    which; what was merged into one axis stands in parentheses. `maps` is the value as (N, C, H, W), a view where
    that can be, or None; then `reason` says why. `vectors` are the parts of the value that have no position, by
    name ("class token"): (N, D) each. `description` says in words what was read: "197 tokens = 1 class token +
    14 × 14". `frames` is how many frames of a clip stand side by side in each map: its columns are frames x W.
    `shared` is what figures made of the maps so far and others need too, by name.
    """

    layout: str
    maps: torch.Tensor | None
    reason: str = ""
    vectors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    description: str = ""
    frames: int = 1
    shared: dict[str, list[torch.Tensor]] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Attention:
    """The softmax attention weights of one node for a batch.

    `weights` are (B, heads, queries, keys), rows summing to 1; B is N, or N times the windows of attention within
    windows (`windowed`). `queries` and `keys` say what the tokens are. `source` says where the weights come from:
    "computed by the model", or how they were computed again from q and k. `look` takes "class" (the class token),
    "mean" (the mean over all queries with a position) or "ROW,COLUMN" (of the query grid) and returns the weights
    that this query gives to the keys with a position, as maps (N, heads, H, W); ValueError, with the reason, when
    there is no such query. BORROWED, as an Activation's value is.
    """

    weights: torch.Tensor
    queries: tuple[Run, ...]
    keys: tuple[Run, ...]
    source: str
    look: Callable[[str], torch.Tensor]
    windowed: bool = False


@dataclass(frozen=True)
class Activation:
    """What one node computed for one batch.

    BORROWED: `value` and `reading.maps` are valid only until the stream's next step, since the next operation
    may work in place and the memory is then given back. Whoever keeps anything keeps a reduction or a copy.
    """

    layer: Layer
    images: tuple[InputImage, ...]
    value: object
    reading: Reading
    attention: Attention | None = None
    """Where the node is softmax attention, what it weighed; also for fused operations that hide it."""


@dataclass(frozen=True)
class Failure:
    """A node that raised, or that reads a node that failed, for one batch."""

    layer: Layer
    images: tuple[InputImage, ...]
    reason: str
