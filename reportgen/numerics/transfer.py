"""Values on their way from a device to the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray


def to_host(values: torch.Tensor) -> Callable[[], NDArray[Any]]:
    """Start to copy `values`, which nobody may change any more; what is returned waits for the copy and gives it.

    From a CUDA device the copy goes into page-locked memory beside further work of the device and of the caller,
    and any thread may wait for it. From other devices it is complete at once; on the CPU nothing is copied.
    """
    if values.device.type != "cuda":
        array: NDArray[Any] = values.cpu().numpy()
        return lambda: array
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    with torch.cuda.device(values.device):
        host.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own lacks a signature
        copied.record()

    def wait() -> NDArray[Any]:
        copied.synchronize()
        waited: NDArray[Any] = host.numpy()
        return waited

    return wait
