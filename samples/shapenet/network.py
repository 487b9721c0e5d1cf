"""ShapeNet: a small residual network that names the shape, colour or texture in a picture of 64 x 64 px."""

import torch
from torch import nn

CLASSES = ("red circle", "green circle", "square", "triangle", "star", "stripes", "checkerboard", "dots")
SIZE = 64
MEAN = (0.48, 0.48, 0.46)
STD = (0.20, 0.21, 0.20)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them.

    Takes (N, inputs, H, W) and gives (N, outputs, H / stride, W / stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None if inputs == outputs and stride == 1 else _downsample(inputs, outputs, stride)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        result: torch.Tensor = self.relu2(out)
        return result


class ShapeNet(nn.Module):
    """A classifier with a stem, three stages of residual blocks, global average pooling and one linear layer.

    Takes RGB pictures (N, 3, 64, 64), scaled to 0..1 and normalised with `MEAN` and `STD`; gives logits
    (N, classes) in the order of `CLASSES`.
    """

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.stage1 = nn.Sequential(ResidualBlock(16, 16), ResidualBlock(16, 16))
        self.stage2 = nn.Sequential(ResidualBlock(16, 32, stride=2), ResidualBlock(32, 32))
        self.stage3 = nn.Sequential(ResidualBlock(32, 64, stride=2), ResidualBlock(64, 64))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: torch.Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return logits


def shapenet() -> nn.Module:
    """Return the untrained network."""
    return ShapeNet()


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
