"""How an operation's threads get on with the threads that make files beside the walk.

After an operation on several threads, GNU's OpenMP lets them spin for up to ten milliseconds (measured: 9 ms of a
CPU, torch 2.14) in case another one follows. A walk has an operation a millisecond, so they would always spin, on
the CPUs that encoding needs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ENOUGH = 1 << 18
"""Elements of an operation that torch spreads over threads: eight times its grain size."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch operations run on the calling thread alone: short ones, and those beside which others work.

    Also a decorator. Of the operations in it none may sum across threads, or bits depend on their number.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not torch.backends.openmp.is_available():  # type: ignore[no-untyped-call]  # others can't change it
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def stop_spinning() -> None:
    """Called in a thread beside the one that runs the network: shortens the wait of OpenMP's threads, in all.

    With more OpenMP threads than CPUs, GNU's OpenMP spins for microseconds (libgomp's manual, GOMP_SPINCOUNT), and
    an operation here gives this thread a team of its own. It lasts as long as the thread does.
    """
    torch.zeros(_ENOUGH, device="cpu").add_(1)
