"""What this process may use of the machine it runs on."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


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
