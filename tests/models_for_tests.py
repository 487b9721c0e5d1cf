"""Tiny networks that the tests walk, each with one thing to it. Their values are set by arithmetic, not drawn."""

import os
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import fx, nn

MARKER = "REPORTGEN_TEST_MARKER"
"""Environment variable: the file that `sleep_long` makes when the forward pass has reached it."""


@fx.wrap
def fail(value: torch.Tensor) -> torch.Tensor:
    raise ValueError("the valve\nis stuck")


@fx.wrap
def refuse_bright(value: torch.Tensor) -> torch.Tensor:
    if float(value.amax()) > 10:
        raise ValueError("too bright")
    return value * 2


@fx.wrap
def sleep_long(value: torch.Tensor) -> torch.Tensor:
    Path(os.environ[MARKER]).touch()
    time.sleep(120)
    return value


@fx.wrap
def announce(value: torch.Tensor) -> torch.Tensor:
    print("passing through")
    return value


@fx.wrap
def count_call(value: torch.Tensor, counter: torch.Tensor) -> torch.Tensor:
    counter.add_(1)
    return value + 1


def fill(module: nn.Module) -> None:
    """Give every parameter small multiples of 1/16, so that sums of products are exact in any order."""
    with torch.no_grad():
        for parameter in module.parameters():
            count = parameter.numel()
            parameter.copy_(((torch.arange(count) * 37 % 23 - 11) / 16).reshape(parameter.shape))


class Residual(nn.Module):
    """3 channels of any size to 4 scores; a ReLU in place, used twice, and a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(5, 5, 3, padding=1, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(5, 4)
        fill(self)
        self.bn1.get_buffer("running_mean").copy_(torch.arange(5) / 8)
        self.bn1.get_buffer("running_var").copy_(torch.arange(5) / 2 + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(identity)
        out = out.add_(identity)
        out = self.relu(out)
        scores: torch.Tensor = self.fc(torch.flatten(self.pool(out), 1))
        return scores


class Exact(nn.Module):
    """Only sums and products of multiples of 1/16, so that its values are the same whatever the batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.last = nn.Conv2d(4, 3, 3, padding=1)
        fill(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(self.stage(x))
        out = out.add_(x)
        return out.view(out.size(0), -1)


class HalfBroken(nn.Module):
    """`fail` raises; `conv2` and `add` read it, `conv3` does not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 1)
        self.conv3 = nn.Conv2d(4, 4, 1)
        fill(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        broken = self.conv2(fail(x))
        whole: torch.Tensor = broken + self.conv3(x)
        return whole


class Crowded(nn.Module):
    """Gives for an image what depends on how many share its batch, and on how many random numbers were drawn.

    It also counts its calls in a buffer.
    """

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.register_buffer("calls", torch.zeros(()))
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        noisy = self.conv(x) * x.shape[0] + self.calls
        result: torch.Tensor = self.relu(torch.sin(noisy + torch.rand(1)))  # each part changes every picture
        return result


class RefusesBright(nn.Module):
    """`refuse_bright` raises for an image with a value above 10, and `conv` reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.other = nn.Conv2d(3, 2, 1)
        fill(self)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.conv(refuse_bright(x)), self.other(x)


class ControlFlow(nn.Module):
    """torch.fx can't trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x if x.sum() > 0 else -x


class Counting(nn.Module):
    """A buffer counts the forward passes; dropout and batch norm differ between training and eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: torch.Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        fill(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = count_call(self.bn(self.conv(x)), self.calls)
        # A constant made here becomes an attribute of the module that torch.fx traces.
        dropped: torch.Tensor = self.drop(x + torch.tensor([0.5]))
        return dropped


class _Keeping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kept: object = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = x
        return x * 2


class Remembering(nn.Module):
    """Its forward pass sets attributes: a count, and in a submodule the value that went through."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.keeping = _Keeping()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        out: torch.Tensor = self.keeping(x)
        return out


class Noisy(nn.Module):
    """Draws random values in every forward pass, also in eval mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + torch.randn_like(x) * float(np.random.rand())
        return x + torch.rand_like(x)


class SharedBuffer(nn.Module):
    """A buffer whose elements share memory."""

    def __init__(self) -> None:
        super().__init__()
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.full((1, 1, 1), 2.0).expand(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class InPlaceFirst(nn.Module):
    """Its first operation overwrites what the network was given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2).clamp_(min=0)


class Sleeping(nn.Module):
    """The forward pass stands still half way, for two minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sleep_long(self.conv(x)) + 1


class Chatty(nn.Module):
    """Prints when it is traced and when it is run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("hello from forward")
        return announce(x) + 1


class Composite(nn.Module):
    """Has a block that torchvision takes for one node unless it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.block = torchvision.ops.Conv2dNormActivation(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.block(x)
        return out


class Versatile(nn.Module):
    """Attention over the positions of a stem, and an output of every kind: scores, a segmentation, detections."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.classify = nn.Linear(8, 4)
        self.segment = nn.Conv2d(8, 4, 1)
        self.scale = nn.Upsample(scale_factor=4)
        self.label = nn.Linear(8, 5)
        self.place = nn.Linear(8, 4)
        fill(self)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.stem(x)
        tokens = self.norm(maps.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return {
            "scores": self.classify(tokens.mean(1)),
            "out": self.scale(self.segment(maps)),
            "logits": self.label(tokens),
            "pred_boxes": self.place(tokens).sigmoid(),
        }


def residual() -> nn.Module:
    return Residual()


def half_broken() -> nn.Module:
    return HalfBroken()


def control_flow() -> nn.Module:
    return ControlFlow()


def sleeping() -> nn.Module:
    return Sleeping()


def composite() -> nn.Module:
    return Composite()


def chatty() -> nn.Module:
    print("hello from the factory")
    return Chatty()


def one_channel() -> nn.Module:
    """A network for gray pictures."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())


def raising() -> nn.Module:
    raise RuntimeError("no blueprint\nin the drawer")


def nothing() -> None:
    """A factory that forgets to return."""


class Hidden(nn.Module):
    """Its last operation is hidden from those who watch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.relu()
        if x.sum() > 0:
            with torch._C.DisableTorchFunction():
                return x * 2
        return x
