"""Vision families of transformers, each from a small random configuration."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import transformers

from zoo import Exhibit, Specimen

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
PLAIN = {**SMALL, "image_size": 32, "patch_size": 8}
"""A Vision Transformer of 16 patches."""

RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
SWIN = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4}


def _config(kind: str, given: Mapping[str, Any]) -> Any:
    """A configuration of transformers; a pair (kind, arguments) among the arguments is one, too."""
    nested = {
        key: _config(*value) if isinstance(value, tuple) and isinstance(value[-1], dict) else value
        for key, value in given.items()
    }
    return getattr(transformers, f"{kind}Config")(**nested)


def _load(model: str, kind: str, given: Mapping[str, Any], inputs: Callable[[], Mapping[str, Any]]) -> Specimen:
    module = getattr(transformers, model)(_config(kind, given))
    return Specimen(module, (), inputs())


def _picture(side: int = 32, **further: Any) -> dict[str, Any]:
    return {"pixel_values": torch.randn(1, 3, side, side), **further}


def _clip(frames: int, side: int) -> dict[str, Any]:
    return {"pixel_values": torch.randn(1, frames, 3, side, side)}


def _patches() -> dict[str, Any]:
    """What SigLIP 2 is given: 4 x 4 patches of 8 x 8 pixels, already cut."""
    return {
        "pixel_values": torch.randn(1, 16, 3 * 8 * 8),
        "pixel_attention_mask": torch.ones(1, 16, dtype=torch.long),
        "spatial_shapes": torch.tensor([[4, 4]]),
    }


def _entry(
    family: str, model: str, kind: str, given: Mapping[str, Any], inputs: Callable[[], Mapping[str, Any]] = _picture
) -> Exhibit:
    return Exhibit("transformers", model, family, partial(_load, model, kind, given, inputs))


_at64 = partial(_picture, 64)
_DETR = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": ("ResNet", {**RESNET, "out_features": ["stage4"]}),
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 5,
}
_SEGFORMER = {
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "decoder_hidden_size": 16,
}
_DINOV2_BACKBONE = ("Dinov2", {**PLAIN, "out_features": ["stage1", "stage2"], "reshape_hidden_states": False})
_SWIN_BACKBONE = {**SWIN, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4]}
_SWIN_BACKBONE["out_features"] = ["stage1", "stage2", "stage3", "stage4"]
_MASKFORMER_DECODER = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 5,
}
_MASK2FORMER = {
    "backbone_config": ("Swin", _SWIN_BACKBONE),
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 64,
    "dim_feedforward": 64,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "num_queries": 5,
    "train_num_points": 16,
}
_SAM_VISION = {
    **PLAIN,
    "image_size": 64,
    "output_channels": 16,
    "mlp_dim": 64,
    "window_size": 2,
    "global_attn_indexes": [1],
}
_VIDEO = {**SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4}
_HIERA = {"image_size": [64, 64], "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4]}
_DPT = {
    **PLAIN,
    "num_hidden_layers": 4,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 8, 16, 16],
    "fusion_hidden_size": 16,
    "is_hybrid": False,
}
_PVT = {
    "image_size": 64,
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 2, 4],
}
_SWIN2SR = {"image_size": 32, "patch_size": 1, "embed_dim": 16, "depths": [2], "num_heads": [2], "window_size": 4}

EXHIBITS = [
    _entry("vit", "ViTModel", "ViT", PLAIN),
    _entry("vit", "ViTForImageClassification", "ViT", PLAIN),
    _entry("deit", "DeiTModel", "DeiT", PLAIN),
    _entry("deit", "DeiTForImageClassificationWithTeacher", "DeiT", PLAIN),
    _entry("beit", "BeitModel", "Beit", {**PLAIN, "use_relative_position_bias": True}),
    _entry("beit", "BeitForImageClassification", "Beit", PLAIN),
    _entry("data2vec", "Data2VecVisionModel", "Data2VecVision", {**PLAIN, "use_relative_position_bias": True}),
    _entry("swin", "SwinModel", "Swin", SWIN, _at64),
    _entry("swin", "SwinForImageClassification", "Swin", SWIN, _at64),
    _entry("swinv2", "Swinv2Model", "Swinv2", SWIN, _at64),
    _entry("swin2sr", "Swin2SRForImageSuperResolution", "Swin2SR", _SWIN2SR),
    _entry("convnext", "ConvNextModel", "ConvNext", STAGES, _at64),
    _entry("convnext", "ConvNextForImageClassification", "ConvNext", STAGES, _at64),
    _entry("convnextv2", "ConvNextV2Model", "ConvNextV2", STAGES, _at64),
    _entry("dinov2", "Dinov2Model", "Dinov2", PLAIN),
    _entry("dinov2_with_registers", "Dinov2WithRegistersModel", "Dinov2WithRegisters", PLAIN),
    _entry("dinov2_with_registers", "Dinov2WithRegistersForImageClassification", "Dinov2WithRegisters", PLAIN),
    _entry("dinov3_vit", "DINOv3ViTModel", "DINOv3ViT", {**PLAIN, "num_register_tokens": 4}),
    _entry("dinov3_convnext", "DINOv3ConvNextModel", "DINOv3ConvNext", STAGES, _at64),
    _entry("vit_mae", "ViTMAEModel", "ViTMAE", PLAIN),
    _entry(
        "vit_mae",
        "ViTMAEForPreTraining",
        "ViTMAE",
        {
            **PLAIN,
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
        },
    ),
    _entry("vit_msn", "ViTMSNModel", "ViTMSN", PLAIN),
    _entry("ijepa", "IJepaModel", "IJepa", PLAIN),
    _entry("clip", "CLIPVisionModel", "CLIPVision", PLAIN),
    _entry("siglip", "SiglipVisionModel", "SiglipVision", PLAIN),
    _entry(
        "siglip2", "Siglip2VisionModel", "Siglip2Vision", {**SMALL, "patch_size": 8, "num_patches": 16}, _patches
    ),
    _entry("segformer", "SegformerModel", "Segformer", _SEGFORMER, _at64),
    _entry("segformer", "SegformerForSemanticSegmentation", "Segformer", _SEGFORMER, _at64),
    _entry("detr", "DetrModel", "Detr", _DETR, _at64),
    _entry("detr", "DetrForObjectDetection", "Detr", _DETR, _at64),
    _entry("conditional_detr", "ConditionalDetrForObjectDetection", "ConditionalDetr", _DETR, _at64),
    _entry("yolos", "YolosModel", "Yolos", {**PLAIN, "image_size": [32, 32], "num_detection_tokens": 5}),
    _entry(
        "yolos", "YolosForObjectDetection", "Yolos", {**PLAIN, "image_size": [32, 32], "num_detection_tokens": 5}
    ),
    _entry(
        "mobilevit",
        "MobileViTModel",
        "MobileViT",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64],
            "num_attention_heads": 2,
        },
        _at64,
    ),
    _entry("mobilevit", "MobileViTForSemanticSegmentation", "MobileViT", {"image_size": 64}, _at64),
    _entry("mobilevitv2", "MobileViTV2Model", "MobileViTV2", {"image_size": 64, "width_multiplier": 0.5}, _at64),
    _entry("mobilenet_v1", "MobileNetV1Model", "MobileNetV1", {"depth_multiplier": 0.25}, _at64),
    _entry("mobilenet_v2", "MobileNetV2Model", "MobileNetV2", {"depth_multiplier": 0.35}, _at64),
    _entry("mobilenet_v2", "MobileNetV2ForSemanticSegmentation", "MobileNetV2", {"depth_multiplier": 0.35}, _at64),
    _entry("pvt", "PvtModel", "Pvt", _PVT, _at64),
    _entry("pvt", "PvtForImageClassification", "Pvt", _PVT, _at64),
    _entry("pvt_v2", "PvtV2Model", "PvtV2", _PVT, _at64),
    _entry("hiera", "HieraModel", "Hiera", _HIERA, _at64),
    _entry("resnet", "ResNetModel", "ResNet", RESNET, _at64),
    _entry("resnet", "ResNetForImageClassification", "ResNet", RESNET, _at64),
    _entry("regnet", "RegNetModel", "RegNet", {**RESNET, "groups_width": 8}, _at64),
    _entry(
        "efficientnet",
        "EfficientNetModel",
        "EfficientNet",
        {"width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
        _at64,
    ),
    _entry(
        "levit",
        "LevitModel",
        "Levit",
        {
            "image_size": 64,
            "hidden_sizes": [16, 24, 32],
            "num_attention_heads": [2, 3, 4],
            "key_dim": [8, 8, 8],
            "depths": [1, 1, 1],
        },
        _at64,
    ),
    _entry("dpt", "DPTModel", "DPT", _DPT),
    _entry("dpt", "DPTForDepthEstimation", "DPT", _DPT),
    _entry(
        "depth_anything",
        "DepthAnythingForDepthEstimation",
        "DepthAnything",
        {
            "backbone_config": _DINOV2_BACKBONE,
            "patch_size": 8,
            "reassemble_hidden_size": 32,
            "reassemble_factors": [2, 1],
            "neck_hidden_sizes": [8, 8],
            "fusion_hidden_size": 8,
            "head_hidden_size": 8,
        },
    ),
    _entry("glpn", "GLPNForDepthEstimation", "GLPN", {**_SEGFORMER, "decoder_hidden_size": 16}, _at64),
    _entry("poolformer", "PoolFormerModel", "PoolFormer", STAGES, _at64),
    _entry(
        "focalnet",
        "FocalNetModel",
        "FocalNet",
        {
            "image_size": 64,
            "embed_dim": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "focal_levels": [2, 2],
            "focal_windows": [3, 3],
        },
        _at64,
    ),
    _entry("cvt", "CvtModel", "Cvt", {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 4], "depth": [1, 2, 3]}, _at64),
    _entry("bit", "BitModel", "Bit", {**RESNET, "num_groups": 1}, _at64),
    _entry(
        "swiftformer",
        "SwiftFormerModel",
        "SwiftFormer",
        {
            "image_size": 64,
            "depths": [1, 1, 1, 1],
            "embed_dims": [8, 16, 24, 32],
        },
        _at64,
    ),
    _entry("videomae", "VideoMAEModel", "VideoMAE", _VIDEO, partial(_clip, 4, 32)),
    _entry("videomae", "VideoMAEForVideoClassification", "VideoMAE", _VIDEO, partial(_clip, 4, 32)),
    _entry("timesformer", "TimesformerModel", "Timesformer", _VIDEO, partial(_clip, 4, 32)),
    _entry("vivit", "VivitModel", "Vivit", {**_VIDEO, "tubelet_size": [2, 8, 8]}, partial(_clip, 4, 32)),
    _entry(
        "upernet",
        "UperNetForSemanticSegmentation",
        "UperNet",
        {
            "backbone_config": ("ConvNext", {**STAGES, "out_features": ["stage1", "stage2", "stage3", "stage4"]}),
            "hidden_size": 16,
            "pool_scales": [1, 2],
            "auxiliary_in_channels": 24,
            "auxiliary_channels": 8,
        },
        _at64,
    ),
    _entry(
        "maskformer",
        "MaskFormerModel",
        "MaskFormer",
        {
            "backbone_config": ("Swin", _SWIN_BACKBONE),
            "decoder_config": ("Detr", _MASKFORMER_DECODER),
            "fpn_feature_size": 32,
            "mask_feature_size": 32,
        },
        _at64,
    ),
    _entry("mask2former", "Mask2FormerModel", "Mask2Former", _MASK2FORMER, _at64),
    _entry("sam", "SamVisionModel", "SamVision", _SAM_VISION, _at64),
    _entry(
        "vitdet",
        "VitDetModel",
        "VitDet",
        {
            **PLAIN,
            "image_size": 64,
            "window_size": 2,
            "window_block_indices": [0],
            "use_relative_position_embeddings": True,
        },
        _at64,
    ),
    _entry(
        "vitpose",
        "VitPoseForPoseEstimation",
        "VitPose",
        {
            "backbone_config": (
                "VitPoseBackbone",
                {
                    **PLAIN,
                    "image_size": [32, 32],
                    "patch_size": [8, 8],
                    "out_features": ["stage2"],
                },
            ),
            "num_labels": 5,
        },
    ),
    _entry("hgnet_v2", "HGNetV2ForImageClassification", "HGNetV2", {}, _at64),
    _entry(
        "seggpt",
        "SegGptModel",
        "SegGpt",
        {
            **PLAIN,
            "image_size": [64, 32],
            "merge_index": 0,
            "intermediate_hidden_state_indices": [0, 1],
            "decoder_hidden_size": 8,
            "pretrain_image_size": 32,
            "mlp_dim": 64,
        },
        lambda: _picture(32, prompt_pixel_values=torch.randn(1, 3, 32, 32), prompt_masks=torch.randn(1, 3, 32, 32)),
    ),
    _entry(
        "vitmatte",
        "VitMatteForImageMatting",
        "VitMatte",
        {
            "backbone_config": (
                "VitDet",
                {**PLAIN, "patch_size": 16, "num_channels": 4, "image_size": 64, "out_features": ["stage2"]},
            ),
            "hidden_size": 32,
            "fusion_hidden_sizes": [32, 16, 8, 8],
        },
        lambda: {"pixel_values": torch.randn(1, 4, 64, 64)},
    ),
    _entry(
        "zoedepth",
        "ZoeDepthForDepthEstimation",
        "ZoeDepth",
        {
            "backbone_config": (
                "Beit",
                {
                    **PLAIN,
                    "num_hidden_layers": 4,
                    "use_relative_position_bias": True,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                    "reshape_hidden_states": False,
                },
            ),
            "backbone_hidden_size": 32,
            "neck_hidden_sizes": [8, 8, 16, 16],
            "reassemble_factors": [4, 2, 1, 0.5],
            "fusion_hidden_size": 16,
            "bottleneck_features": 16,
            "num_relative_features": 16,
            "bin_embedding_dim": 16,
            "num_attractors": [8, 4, 2, 1],
        },
    ),
    _entry("aimv2", "Aimv2VisionModel", "Aimv2Vision", PLAIN),
    _entry(
        "vjepa2",
        "VJEPA2Model",
        "VJEPA2",
        {
            **SMALL,
            "crop_size": 32,
            "patch_size": 8,
            "frames_per_clip": 4,
            "mlp_ratio": 2,
            "pred_hidden_size": 16,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
        lambda: {"pixel_values_videos": torch.randn(1, 4, 3, 32, 32)},
    ),
]
"""One model or two (the bare network and one with a head) of each family."""
