"""What a caller does next with a result: unpack it, or take one of its parts.

torch.fx sees each part that is taken from a tuple or a size as a node. A stream that only sees tensors looks at the
caller's next instruction, as torch.fx itself does for unpacking, so that both number such nodes alike. Names depend
on it, values never do.
"""

import dis
import sys
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType, FrameType


def parts_taken(count: int) -> Sequence[int]:
    """Return which of `count` parts of the result the nearest frame outside torch takes next, in order.

    All of them where that can't be told.
    """
    frame = _caller(sys._getframe(1))
    found = _next_use(frame.f_code, frame.f_lasti) if frame else None
    if found is None or found[0] == "unpack":
        return range(count)
    place = found[1]
    return [place % count] if -count <= place < count else range(count)


def size_parts() -> int:
    """Return how many parts of a size the nearest frame outside torch takes next; 0 where that can't be told."""
    frame = _caller(sys._getframe(1))
    found = _next_use(frame.f_code, frame.f_lasti) if frame else None
    if found is None:
        return 0
    return found[1] if found[0] == "unpack" else 1


def is_operator() -> bool:
    """Whether the nearest frame outside torch is at an arithmetic operator (`x / y`, `x *= y`), not at a call."""
    frame = _caller(sys._getframe(1))
    return frame is not None and any(
        step.offset == frame.f_lasti and step.opname.startswith("BINARY_OP") for step in _steps(frame.f_code)
    )


def _caller(frame: FrameType | None) -> FrameType | None:
    while frame and str(frame.f_globals.get("__name__", "")).startswith(("torch.", "reportgen.network")):
        frame = frame.f_back
    return frame


@lru_cache(maxsize=8192)
def _next_use(code: CodeType, offset: int) -> tuple[str, int] | None:
    """("unpack", how many) or ("item", which) for the instructions after the one at `offset`."""
    following = [step for step in _steps(code) if step.offset > offset][:2]
    if not following:
        return None
    if following[0].opname == "UNPACK_SEQUENCE":
        return "unpack", int(following[0].arg or 0)
    takes = len(following) == 2 and (
        following[1].opname == "BINARY_SUBSCR" or (following[1].opname, following[1].argrepr) == ("BINARY_OP", "[]")
    )
    if takes and isinstance(following[0].argval, int) and following[0].opname.startswith("LOAD_"):
        return "item", following[0].argval
    return None


@lru_cache(maxsize=512)
def _steps(code: CodeType) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "PRECALL", "NOP")]
