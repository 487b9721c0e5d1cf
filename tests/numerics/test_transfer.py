"""Copies from a device, with a device that says what is asked of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reportgen.numerics.transfer import to_host


def test_on_the_cpu_nothing_is_copied() -> None:
    values = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    found = to_host(values)()
    assert found.__array_interface__["data"][0] == values.data_ptr()
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 4, 5]])


def test_a_copy_from_a_cuda_device_is_waited_for_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    content = torch.arange(6, dtype=torch.uint8).reshape(2, 3)

    class Event:
        def record(self) -> None:
            did.append("record")

        def synchronize(self) -> None:
            did.append("wait")

    class Host(torch.Tensor):
        def copy_(self, _: object, non_blocking: bool = False) -> "Host":
            did.append(f"copy, {'beside' if non_blocking else 'blocking'}")
            self.as_subclass(torch.Tensor).copy_(content)
            return self

    def empty(shape: torch.Size, *, dtype: torch.dtype, pin_memory: bool) -> Host:
        did.append("page-locked" if pin_memory else "pageable")
        return torch.zeros(shape, dtype=dtype).as_subclass(Host)

    @contextmanager
    def on(device: torch.device) -> Iterator[None]:
        did.append(str(device))
        yield

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch, "empty", empty)
    values = SimpleNamespace(device=torch.device("cuda:1"), shape=content.shape, dtype=content.dtype)
    coming = to_host(values)  # type: ignore[arg-type]
    assert did == ["page-locked", "cuda:1", "copy, beside", "record"]
    np.testing.assert_array_equal(coming(), content.numpy())
    assert did[-1] == "wait"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_a_cuda_device_holds_arrives() -> None:
    values = torch.arange(1 << 20, device="cuda").to(torch.uint8)
    coming = [to_host(values + number) for number in range(4)]
    for number, one in enumerate(coming):
        np.testing.assert_array_equal(one(), (np.arange(1 << 20) + number).astype(np.uint8))
