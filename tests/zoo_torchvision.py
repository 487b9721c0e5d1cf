"""All 121 models of torchvision, each with a small input that it accepts."""

from functools import partial
from typing import Any

import torch
import torchvision

from zoo import Exhibit, Specimen

SIDE = 64
"""Pixels a side; what differs is below. Most accept 32, but end in maps of one position then."""

SMALLEST = {"inception_v3": 75, "quantized_inception_v3": 75, "maxvit_t": 224, "vit_h_14": 56}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
    "quantized_googlenet": {"init_weights": False},
    "quantized_inception_v3": {"init_weights": False},
    "vit_b_16": {"image_size": SIDE},
    "vit_b_32": {"image_size": SIDE},
    "vit_h_14": {"image_size": 56},
    "vit_l_16": {"image_size": SIDE},
    "vit_l_32": {"image_size": SIDE},
}

CLIPS = {"mvit_v1_b": (16, 224), "mvit_v2_s": (16, 224), "s3d": (14, 224)}
"""Frames and pixels of the video networks that need more than CLIP."""

CLIP = (4, SIDE)

PAIR_SIDE = 128
"""RAFT's correlation pyramid needs features of 16 x 16."""

LARGE = frozenset({"regnet_y_128gf", "vit_h_14", "mvit_v1_b", "mvit_v2_s", "keypointrcnn_resnet50_fpn"})


def _family(name: str) -> str:
    return str(torchvision.models.get_model_builder(name).__module__).removeprefix("torchvision.models.")


def _load(name: str) -> Specimen:
    family = _family(name).partition(".")[0]
    given = dict(ARGUMENTS.get(name, {}))
    if family in ("detection", "segmentation"):
        given["weights_backbone"] = None
    if family == "detection" and not name.startswith("ssd"):
        given.update(min_size=SIDE, max_size=SIDE)
    module = torchvision.models.get_model(name, weights=None, **given)
    return Specimen(module, _inputs(name, family))


def _inputs(name: str, family: str) -> tuple[Any, ...]:
    if family == "detection":
        return ([torch.rand(3, SIDE, SIDE)],)
    if family == "video":
        frames, side = CLIPS.get(name, CLIP)
        return (torch.randn(1, 3, frames, side, side),)
    if family == "optical_flow":
        return torch.rand(1, 3, PAIR_SIDE, PAIR_SIDE) * 2 - 1, torch.rand(1, 3, PAIR_SIDE, PAIR_SIDE) * 2 - 1
    side = SMALLEST.get(name, SIDE)
    return (torch.randn(1, 3, side, side),)


def _load_quantized(name: str) -> Specimen:
    module = torchvision.models.get_model(name, weights=None, quantize=True, **ARGUMENTS.get(name, {}))
    return Specimen(module, _inputs(name, _family(name)))


QUANTIZED = [
    Exhibit("torchvision", f"{name}-int8", _family(name), partial(_load_quantized, name))
    for name in (
        "quantized_googlenet",
        "quantized_inception_v3",
        "quantized_mobilenet_v2",
        "quantized_mobilenet_v3_large",
        "quantized_resnet18",
        "quantized_shufflenet_v2_x0_5",
        "quantized_shufflenet_v2_x1_0",
    )
]
"""Some of these that compute with 8-bit integers."""

EXHIBITS = [
    Exhibit("torchvision", name, _family(name), partial(_load, name), name in LARGE)
    for name in torchvision.models.list_models()
] + QUANTIZED
"""`list_models()`; its `quantized_*` are models of floats, ready to be quantised; and QUANTIZED."""
