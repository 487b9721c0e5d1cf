"""The device without hardware refuses and counts what real ones would."""

import pytest
import torch

from fake_device import DEVICE, Copy, fake_device, held


def test_it_computes_what_the_cpu_computes() -> None:
    values = torch.arange(12.0).reshape(3, 4)
    with fake_device():
        there = held(values).mul(2).sub_(1)
        assert there.device == DEVICE
        assert torch.zeros_like(there).device == torch.zeros(2, device=there.device).device == DEVICE
        assert torch.equal(there.cpu(), values * 2 - 1)
        assert torch.equal(torch.ones(3, 4).to(there.device).add_(there).cpu(), values * 2)


def test_it_refuses_tensors_of_the_cpu() -> None:
    with fake_device():
        there = held(torch.ones(3))
        with pytest.raises(RuntimeError, match="one device"):
            there + torch.ones(3)
        assert (there + torch.tensor(2.0)).cpu().tolist() == [3, 3, 3]
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()


def test_it_counts_what_leaves() -> None:
    with fake_device() as copies:
        there = held(torch.ones(2, 3))
        assert copies == []
        assert float(there[0, 0]) == 1
        assert bool((there > 0).all())
        assert there.to(torch.uint8).tolist() == [[1, 1, 1], [1, 1, 1]]
        torch.zeros(2, 3).copy_(there)
    assert copies == [
        Copy(torch.float32, 1), Copy(torch.bool, 1), Copy(torch.uint8, 6), Copy(torch.float32, 6)
    ]  # fmt: skip
