"""Names of every torchvision model that can be traced, against torchvision's own; run by hand with `-m sweep`."""

import re
import warnings

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import get_graph_node_names

from reportgen.errors import InputError
from reportgen.network.graph import trace


def build(name: str) -> nn.Module:
    """The architecture, where it can be without memory for its weights, which names do not depend on."""
    builder = torchvision.models.get_model_builder(name)
    composed = any(part in builder.__module__ for part in ("detection", "segmentation"))
    arguments = {"weights_backbone": None} if composed else {}
    # RegNet computes its widths with tensors, which must then have values.
    device = "cpu" if name.startswith("regnet") else "meta"
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        model: nn.Module = builder(weights=None, **arguments).eval()
    return model


@pytest.mark.sweep
@pytest.mark.parametrize("name", [name for name in torchvision.models.list_models() if "quantized" not in name])
def test_names_are_torchvisions(name: str) -> None:
    model = build(name)
    try:
        expected = get_graph_node_names(model)[1]
    except Exception:  # noqa: BLE001 - torchvision's tracer raises many kinds of errors
        with pytest.raises(InputError):
            trace(model)
        return
    layers = trace(model).layers
    assert len(layers) == len(expected)
    numbered = {layer.target for layer in layers if re.fullmatch(r".+_[0-9]+", layer.target)}
    for layer, theirs in zip(layers, expected, strict=True):
        # The one difference: torchvision renumbers modules whose own names end in a number.
        assert layer.name == theirs or (layer.op == "call_module" and layer.target in numbered), layer.name
    assert len({layer.slug for layer in layers}) == len(layers)
