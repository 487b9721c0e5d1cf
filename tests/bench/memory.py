"""What memory this process has taken, from /proc: getrusage begins with the peak of the process that started it."""

from pathlib import Path

RESIDENT, PEAK = "VmRSS", "VmHWM"


def status(field: str) -> int:
    """A field of /proc/self/status, in kibibytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def count_peak_anew() -> None:
    """Let PEAK begin with what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
