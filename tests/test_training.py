"""`reportgen.build` between two steps of a training loop changes nothing, to the bit."""

import random
from pathlib import Path

import numpy as np
import torch
from torch import nn

import reportgen


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


def train(out: Path | None) -> tuple[list[float], dict[str, torch.Tensor], list[float]]:
    """Train for three steps, with a report after each if `out` is given; return losses, state, random numbers."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    model = network().train()
    model[1].eval()  # a frozen batch norm must stay frozen
    calls: list[int] = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses, drawn = [], []
    for step in range(3):
        batch = torch.randn(4, 3, 8, 8) + float(np.random.rand()) + random.random()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), torch.arange(4))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if out is not None:
            before = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
            report = reportgen.build(model, batch, out / str(step), quiet=True)
            assert report.complete, report.record.problems
            after = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
            assert torch.is_grad_enabled()
        assert [module.training for module in model] == [True, False, True, True, True, True, True]
        optimiser.step()
        losses.append(loss.item())
        drawn.append(torch.rand(()).item() + float(np.random.rand()) + random.random())
    assert len(model[0]._forward_hooks) == 1
    return losses, {name: value.clone() for name, value in model.state_dict().items()}, drawn


def test_losses_weights_and_random_numbers_are_the_same(tmp_path: Path) -> None:
    with_losses, with_state, with_drawn = train(tmp_path)
    losses, state, drawn = train(None)
    assert with_losses == losses
    assert with_drawn == drawn
    assert with_state.keys() == state.keys()
    assert all(torch.equal(with_state[name], state[name]) for name in state)
