"""Whether a build fits into memory, and how many images a forward pass may then take.

What a walk needs is estimated from the values of one image, which are measured while the network is learned: what
is alive at once during a forward pass, what figures make of the largest value, and what they sum up over images.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from reportgen.encoder import MEMORY
from reportgen.errors import MemoryShortageError
from reportgen.machine import Room
from reportgen.network.footprint import Footprint, Value
from reportgen.worker import MOST_WORKERS

_MB = 1_000_000
_THREAD = 72 << 20
"""Address space that a thread takes: the stack, and the arena from which it allocates."""
_UNUSED = 140 * _MB
"""Address space that is mapped and not used: libraries, and what allocators keep."""
_BASE = 30 * _MB
_DRAWING: Mapping[str, int] = {
    "layer_cka": 75 * _MB, "filters": 25 * _MB, "health": 10 * _MB, "vector": 10 * _MB, "hypercolumn": 10 * _MB,
}  # fmt: skip
"""What drawing the charts of a kind takes; the kinds draw one after the other."""
_CHARTS = {"layer_cka", "filters", "health", "vector", "overview", "predictions"}
"""Kinds whose charts are drawn by processes of their own."""
_WORKER = 110 * _MB
"""What such a process takes besides the chart that it draws."""
_ENCODER = 50 * _MB
"""What the process that encodes pictures takes besides the memory that it shares."""
_LABEL = 600_000
"""What each layer in the chart of their similarity takes."""
_NODE = 50_000
"""What figures keep of a node, besides the numbers of its channels: texts, pages, histograms."""
_FIGURE = 1_000
"""What stays in memory of a node's figures for each image: where they are, and the hashes of their files."""
_WAITING = 64 << 20
"""What may wait to be written by other threads (see `saving`)."""
_GRAM, _GRAMS = 8 * 64 * 64, 5
"""A Gram matrix between positions, and how many of a layer there are at once, centred and not."""
_WIDEST = 2048
"""Of wider layers no products between channels are kept."""


@dataclass(frozen=True)
class Job:
    """What a build does, as far as its memory depends on it.

    `kinds` are the names of its kinds of figures, `images` how many are drawn, `picture` the bytes of one as
    decoded and prepared, `threads` how many write; `arrays` is the option, and `correlates` says that channels are
    compared over all images; `on_cpu` says whether the model's values take this process's memory.
    """

    kinds: Collection[str]
    images: int
    picture: int
    threads: int
    arrays: bool = False
    correlates: bool = False
    on_cpu: bool = True


@dataclass(frozen=True)
class Need:
    """Bytes that a build takes besides what is in use before it: `kept` to its end, `image` for each image of a
    batch during the walk, `after` it; address space, `reserved` without being used; and what other processes of the
    build take, `beside` it, which a container counts.
    """

    kept: int
    image: int
    after: int = 0
    reserved: int = 0
    beside: int = 0

    def of(self, images: int, room: Room | None = None) -> int:
        """Return what is needed with batches of `images`, as `room` counts it."""
        further = (self.reserved if room.reserved else self.beside) if room else 0
        return self.kept + max(self.after, images * self.image) + further


def estimate(footprint: Footprint, names: Collection[str], job: Job) -> Need:
    """Return what a build needs that shows the nodes `names`; `footprint` was told of a pass over one image.

    The constants are measured with networks of torchvision; `tests/bench/estimates.py` compares.
    """
    values = [value for name, value in footprint.values.items() if name in names]
    helped = job.threads > 1
    workers = min(job.threads - 1, MOST_WORKERS) if _CHARTS & set(job.kinds) else 0
    return Need(
        kept=helped * (_WAITING + MEMORY) + _sums(values, job) + _entries(values, job),
        image=_forward(footprint, job) + _grams(values, job) + 2 * job.picture,
        after=_BASE + _NODE * len(values) + _charts(values, job) + _products(values, job),
        reserved=_UNUSED + (job.threads + 1) * _THREAD,
        beside=_WORKER * workers + _ENCODER * helped,
    )


def _forward(footprint: Footprint, job: Job) -> int:
    """What is alive at once during a forward pass, and a copy of the largest value for an operation."""
    return footprint.largest() + (footprint.passing if job.on_cpu else 0)


def _entries(values: Sequence[Value], job: Job) -> int:
    """Where each figure of each image lies on disk, which holds what it says."""
    return _FIGURE * job.images * len(values)


def _sums(values: Sequence[Value], job: Job) -> int:
    """Matrices between the channels of each layer, which are summed over images, or kept."""
    kept = 4 * ("health" in job.kinds) * sum(_pairs(values))
    if "channel_cka" in job.kinds and job.arrays:
        kept += 4 * job.images * sum(_pairs(values))
    if "channel_cka" in job.kinds and job.correlates:
        kept += 8 * sum(_pairs(values))
    return kept


def _products(values: Sequence[Value], job: Job) -> int:
    """What is made of the largest of these matrices in the end, beside each other in so many threads."""
    threads = max(1, job.threads)
    return 12 * threads * max(_pairs(values), default=0) if {"health", "channel_cka"} & set(job.kinds) else 0


def _pairs(values: Sequence[Value]) -> list[int]:
    return [value.channels**2 for value in values if value.channels <= _WIDEST]


def _charts(values: Sequence[Value], job: Job) -> int:
    layers = sum(value.channels > 0 for value in values) if "layer_cka" in job.kinds else 0
    return max((_DRAWING.get(kind, 0) for kind in job.kinds), default=0) + _LABEL * layers


def _grams(values: Sequence[Value], job: Job) -> int:
    """The matrices between positions of all layers."""
    mapped = sum(value.positions > 1 for value in values)
    return _GRAMS * _GRAM * mapped if "layer_cka" in job.kinds else 0


@dataclass(frozen=True)
class BatchSize:
    """How many images a forward pass takes: `wanted`, and `used`, which is less where memory is short (`why`).

    `most` is how many images there are at most to make a batch of, `least` how small a batch may become. `given`
    says that the user asked for `wanted`: then it is refused rather than lowered beforehand.
    """

    wanted: int
    used: int
    most: int
    least: int = 1
    given: bool = False
    why: str = ""

    @property
    def largest(self) -> int:
        """How many images the largest batch has."""
        return max(1, min(self.used, self.most))

    @property
    def lowered(self) -> bool:
        """Whether batches are smaller than wanted."""
        return self.used < self.wanted

    @property
    def notes(self) -> list[str]:
        """What the report says of it: a sentence, or nothing. The numbers of one machine's memory are not in it."""
        return [f"The batch size is {self.used} instead of {self.wanted}: {self.why}."] if self.lowered else []

    def within(self, need: Need, rooms: Sequence[Room]) -> "BatchSize":
        """Return the largest size, halved as often as needed, that is within all `rooms`.

        Raises MemoryShortageError, with the numbers, where none is, and where a size that was given is not.
        """
        size = self
        while room := next((one for one in rooms if one.used + need.of(size.largest, one) > one.allowed), None):
            if size.largest <= self.least:
                raise MemoryShortageError(_told(need, room, self, None))
            size = size._half(f"more images at once would need more memory than {room.name} allows")
        if self.given and size.lowered:
            raise MemoryShortageError(_told(need, _tightest(need, rooms, self.largest), self, size.used))
        return size

    def halved(self, error: MemoryShortageError) -> "BatchSize":
        """Return half of it, where memory ran out in spite of all; raises `error` where it can't be halved."""
        if self.largest <= self.least:
            raise error
        return self._half(f"memory ran out in a forward pass of {self.largest} images")

    def _half(self, why: str) -> "BatchSize":
        return replace(self, used=max(self.least, self.largest // 2), why=why)


def _tightest(need: Need, rooms: Sequence[Room], images: int) -> Room:
    """The limit that leaves the least."""
    return min(rooms, key=lambda room: room.allowed - room.used - need.of(images, room))


def _told(need: Need, room: Room, size: BatchSize, fitting: int | None) -> str:
    """A line with the numbers, and what to do."""
    needed = room.used + need.of(size.largest if fitting else size.least, room)
    smaller = f"--batch-size {fitting}, " if fitting else ""
    return (
        f"this build needs about {_gigabytes(needed)}, and the process may use {_gigabytes(room.allowed)} "
        f"({room.name}): use {smaller}a smaller --size, fewer nodes (--nodes) or fewer kinds of figures (--figures)"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 950e6 else f"{count / 1e6:.0f} MB"
