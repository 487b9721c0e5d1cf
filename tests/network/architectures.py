"""torchvision's networks with random weights, as small as they come."""

import warnings
from typing import Any

import torchvision
from torch import nn


def build(name: str) -> nn.Module:
    arguments: dict[str, Any] = {"image_size": 32} if name == "vit_b_16" else {}
    if name == "googlenet":
        arguments["init_weights"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = torchvision.models.get_model(name, weights=None, **arguments).eval()
    return model
