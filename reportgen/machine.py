"""What this process may use of the machine it runs on."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_CGROUP = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self")
_NO_LIMIT = 1 << 60
"""Version 1 of cgroups writes a number near 2**63 where there is no limit."""


def cpus(cgroup: Path = _CGROUP) -> int:
    """Return how many CPUs to keep busy: those that the process may run on, the container's quota, OMP_NUM_THREADS.

    The smallest of them, at least 1.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        usable = os.cpu_count() or 1
    limits = (usable, _quota(cgroup), _wanted(os.environ.get("OMP_NUM_THREADS", "")))
    return max(1, min(limit for limit in limits if limit))


def _quota(cgroup: Path) -> int:
    """CPUs that the container may use, rounded up; 0: no limit. Version 2 of cgroups, then version 1."""
    quota, period = [*_words(cgroup / "cpu.max"), "", ""][:2]
    if not quota:
        quota = "".join(_words(cgroup / "cpu" / "cpu.cfs_quota_us"))
        period = "".join(_words(cgroup / "cpu" / "cpu.cfs_period_us"))
    return math.ceil(int(quota) / int(period)) if quota.isdigit() and period.isdigit() and int(period) else 0


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


def _wanted(text: str) -> int:
    """The first number of OMP_NUM_THREADS (`4`, or `4,2` for nested loops); 0 where it says nothing."""
    first = text.split(",")[0].strip()
    return int(first) if first.isdigit() else 0


@dataclass(frozen=True)
class Room:
    """A limit on memory: its name, the bytes that it allows, and those in use of it now.

    `reserved` says that address space counts, also where nothing was written to it yet.
    """

    name: str
    allowed: int
    used: int
    reserved: bool = False


def memory_rooms(cgroup: Path = _CGROUP, process: Path = _SELF) -> list[Room]:
    """Return the limits on the memory of this process: RLIMIT_AS, and those of its container; [] without any.

    A container's limit stands at the process's own group or at any above it. Cached files that the kernel can drop
    do not count as used.
    """
    groups = _groups(process)
    rooms = [_address_space(process)]
    rooms += [_room(folder, "memory.max", "memory.current", "") for folder in _above(cgroup, groups.get("", ""))]
    rooms += [
        _room(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        for folder in _above(cgroup / "memory", groups.get("memory", ""))
    ]
    return [room for room in rooms if room]


def _address_space(process: Path) -> Room | None:
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    if not resource or allowed == resource.RLIM_INFINITY:
        return None
    return Room("RLIMIT_AS", allowed, _pages(process, 0), reserved=True)


def _pages(process: Path, place: int) -> int:
    words = _words(process / "statm")
    return int(words[place]) * os.sysconf("SC_PAGE_SIZE") if len(words) > place else 0


def _groups(process: Path) -> dict[str, str]:
    """The path of the process's group in each hierarchy of cgroups: by controller, that of version 2 by ""."""
    lines = [line.split(":", 2) for line in _words(process / "cgroup") if line.count(":") > 1]
    return {name: path for _, names, path in lines for name in names.split(",")}


def _above(root: Path, path: str) -> Iterator[Path]:
    """The folder of the group `path`, and those of the groups above it.

    Inside a container `path` may begin above what is mounted there: `root` is then the container's own group.
    """
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for count in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:count])


def _room(folder: Path, limit: str, usage: str, prefix: str) -> Room | None:
    allowed, used = "".join(_words(folder / limit)), "".join(_words(folder / usage))
    if not allowed.isdigit() or not used.isdigit() or int(allowed) >= _NO_LIMIT:
        return None
    words = _words(folder / "memory.stat")
    facts = dict(zip(words[::2], words[1::2], strict=False))
    droppable = facts.get(f"{prefix}inactive_file", "0")
    return Room(f"the container's {limit}", int(allowed), max(0, int(used) - int(droppable)))
