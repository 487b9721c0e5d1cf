"""Tokens folded to maps, against the maps that timm makes of its own models' intermediate values."""

import warnings
from typing import Any

import pytest
import timm
import torch
from torch import nn

from reportgen.entities import Activation, Batch
from reportgen.network.tracing import trace_model
from zoo import stir

WIDE = {"img_size": (64, 96)}
"""Not square, so that rows and columns can't be mistaken for each other."""

FAMILIES: dict[str, dict[str, Any]] = {
    "test_vit": WIDE,  # a class token
    "vit_small_patch14_reg4_dinov2": {"img_size": (56, 84), "depth": 2},  # and four register tokens
    "deit_tiny_distilled_patch16_224": {**WIDE, "depth": 2},  # a distillation token
    "beit_base_patch16_224": {**WIDE, "depth": 2},
    "eva02_tiny_patch14_224": {"img_size": (56, 84), "depth": 2},  # rotary positions
    "cait_xxs24_224": {"img_size": (64, 96), "depth": 2},  # the class token joins late
    "xcit_nano_12_p8_224": {"depth": 2},  # attention over channels
    "swin_tiny_patch4_window7_224": {**WIDE, "depths": (2, 2)},  # (N, H, W, C), windows
    "swinv2_tiny_window16_256": {**WIDE, "depths": (2, 2)},
    "test_convnext": {},  # (N, H, W, C) inside blocks
    "mvitv2_tiny": {},  # pooled tokens
    "pvt_v2_b0": {"depths": (1, 1, 1, 1)},
    "test_coatnet": {"img_size": 64},
    "levit_128s": {"img_size": 64, "depth": (1, 1, 1)},
}
"""Each with arguments that make it small."""

UNKNOWN_SIZES = frozenset({"test_coatnet", "levit_128s"})
"""Made for one square size."""


def build(name: str) -> nn.Module:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        module: nn.Module = timm.create_model(name, pretrained=False, **FAMILIES[name]).eval()
        stir(module)
    return module


def side_lengths(name: str) -> tuple[int, int]:
    size = FAMILIES[name].get("img_size", (64, 96))
    return (size, size) if isinstance(size, int) else size


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("tracer", ["auto", "eager"])
def test_folded_maps_are_timms(name: str, tracer: str) -> None:
    """Every intermediate value that timm gives as (N, C, H, W) is the reading of a node, bit for bit."""
    module = build(name)
    batch = Batch((), torch.randn(2, 3, *side_lengths(name), generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        maps = module.forward_intermediates(  # type: ignore[operator]
            batch.tensor, output_fmt="NCHW", norm=False, intermediates_only=True
        )
    missing = dict(enumerate(maps))
    for event in trace_model(module, batch, tracer=tracer).walk(batch):
        read = event.reading.maps if isinstance(event, Activation) else None
        if read is not None:
            missing = {place: one for place, one in missing.items() if not torch.equal(one, read)}
    assert len(maps) >= 2
    assert not missing


def test_class_and_register_tokens_are_told_apart() -> None:
    """The tokens before the grid are vectors: theirs are the parameters that timm puts there."""
    module = build("vit_small_patch14_reg4_dinov2")
    batch = Batch((), torch.zeros(2, 3, 56, 84))
    parts: dict[str, torch.Tensor] = {}
    for event in trace_model(module, batch).walk(batch):
        if isinstance(event, Activation) and event.layer.name == "blocks.0.add_1":
            parts = {name: vector.clone() for name, vector in event.reading.vectors.items()}
    assert len(parts) == 5
    with torch.no_grad():
        tokens = module.forward_intermediates(batch.tensor, indices=[0], norm=False, return_prefix_tokens=True)  # type: ignore[operator]
    expected = tokens[1][0][1]
    for place, (name, vector) in enumerate(parts.items()):
        assert name.startswith("class token" if place == 0 else "register token"), name
        assert torch.equal(vector, expected[:, place])
