"""A report of any vision model: fifteen that stand for the zoo, of every source, tracer and form of input.

Each is walked and compared with the oracle, and a whole report is built of most. `python tests/sweep.py` does the
first for every model of the zoo.
"""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import reportgen
from reportgen.network.tracing import trace_model
from sweep import batch_of, record_fresh, walk_all
from zoo import exhibit

REPRESENTATIVE = {
    ("torchvision", "mobilenet_v3_small"): "fx",  # convolutions, squeeze and excitation
    ("torchvision", "swin_t"): "fx",  # (N, H, W, C), windows
    ("torchvision", "fasterrcnn_mobilenet_v3_large_320_fpn"): "eager",  # a list of pictures, boxes
    ("torchvision", "lraspp_mobilenet_v3_large"): "fx",  # class maps in a dictionary
    ("torchvision", "r3d_18"): "fx",  # clips
    ("torchvision", "raft_small"): "eager",  # pairs, a loop
    ("timm", "test_vit"): "fx",
    ("timm", "test_convnext"): "fx",
    ("timm", "test_coatnet"): "fx",  # convolutions, then attention with relative positions
    ("timm", "xcit_nano_12_p8_224"): "fx",  # attention over channels
    ("transformers", "ViTForImageClassification"): "eager",
    ("transformers", "DetrForObjectDetection"): "eager",  # boxes from queries
    ("transformers", "SegformerForSemanticSegmentation"): "eager",
    ("transformers", "Dinov2WithRegistersModel"): "eager",
    ("transformers", "VideoMAEModel"): "eager",  # tokens of clips
}
"""The models, and the tracer that each gets."""

FEW_NODES = {"raft_small": ["feature_encoder*", "update_block*_1*"], "xcit_nano_12_p8_224": ["blocks.0*"]}
"""The nodes drawn of models that have a thousand."""

FIGURES = ("attention", "channel_grid", "class_map", "detections", "predictions")
"""Those made of single nodes and of what the model returns: the charts that span a report are tested elsewhere."""

SWEPT = {"test_vit", "test_convnext", "test_coatnet"}
"""Those whose reports are left to the sweep, as others of each run have the same figures of the same layouts."""

REPORTED = [
    pytest.param(source, name, marks=[pytest.mark.sweep] * (name in SWEPT), id=f"{source}-{name}")
    for source, name in REPRESENTATIVE
]

MODELS = pytest.mark.parametrize(("source", "name"), REPRESENTATIVE, ids=lambda value: str(value))


@MODELS
def test_every_value_is_the_one_computed(source: str, name: str) -> None:
    recording = record_fresh(exhibit(source, name))
    specimen = exhibit(source, name).load()
    network = trace_model(specimen.module, batch_of(specimen))
    shown = walk_all(network, specimen, recording)
    assert network.tracer == REPRESENTATIVE[source, name], network.tracer_reason
    assert shown.comparison.differences == []
    assert shown.comparison.failures == network.differences == []
    assert list(shown.values) == [layer.name for layer in network.layers]
    assert shown.comparison.compared > 20


@pytest.mark.parametrize(("source", "name"), REPORTED)
def test_a_report_accounts_for_every_node(source: str, name: str, tmp_path: Path) -> None:
    specimen = exhibit(source, name).load()
    picture = Image.effect_noise((80, 64), 80).convert("RGB")
    side = int(specimen.tensor.shape[-1])
    nodes = dict.fromkeys(FEW_NODES.get(name, []), "")
    report = reportgen.build(
        specimen.module,
        [picture],
        tmp_path / "site",
        size=side,
        nodes=nodes,
        figures=FIGURES,
        max_channels=16,
        quiet=True,
    )
    assert report.record.problems == []
    assert report.record.model.tracer == REPRESENTATIVE[source, name]
    assert report.record.model.tracer_reason
    statuses = Counter(layer.status for layer in report.record.layers)
    assert set(statuses) <= {"drawn", "skipped"}
    assert statuses["drawn"] >= 30  # of a detector less than half: boxes are no maps
    for layer in report.record.layers:
        assert (report.site / "layers" / f"{layer.slug}.html").is_file() == layer.selected
        assert layer.status == "drawn" or layer.reason, layer.name
