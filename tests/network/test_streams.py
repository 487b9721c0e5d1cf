"""On what torch.fx can trace, both streams have the same nodes: names, order, and values to the bit.

The eager stream has a model of its own, and knows of torch.fx only which functions and classes are one node.
"""

import gc

import pytest
import torch

from oracle import Digest, digests_of
from reportgen.entities import Activation
from reportgen.errors import InputError
from reportgen.network.base import Network
from reportgen.network.capture import GraphNetwork
from reportgen.network.eager import EagerNetwork
from reportgen.network.leaves import Leaves
from reportgen.network.tracing import _timm_leaves, trace_model
from sweep import batch_of
from zoo import Specimen, exhibit, exhibits

CHEAP = [
    ("torchvision", "resnet18"),
    ("torchvision", "mobilenet_v3_small"),
    ("torchvision", "googlenet"),  # named tuples in training
    ("torchvision", "squeezenet1_1"),
    ("torchvision", "lraspp_mobilenet_v3_large"),
    ("torchvision", "quantized_resnet18-int8"),
    ("torchvision", "convnext_tiny"),  # a parameter that is read before it is used
    ("torchvision", "swin_t"),  # wrapped functions
    ("torchvision", "swin3d_t"),  # one that changes the list it is given
    ("timm", "test_convnext"),
    ("timm", "test_coatnet"),
    ("timm", "test_vit_relpos"),
    ("timm", "res2next50"),  # parts of a split, some taken twice
    ("timm", "efficientvim_m1"),  # parameters with capitals
    ("timm", "sequencer2d_s"),  # an LSTM's state
    ("timm", "tnt_s_legacy_patch16_224"),  # a parameter that is handed to a child
    ("timm", "volo_d1_224"),  # arithmetic on sizes
    ("timm", "edgenext_xx_small"),  # positions made from a size and a device alone
    ("timm", "test_vit"),  # timm's leaves from here on
    ("timm", "convit_tiny"),
]
"""Those of each run: one for each thing that the streams could see differently. The sweep has all of the zoo."""

UNTRACEABLE = frozenset(
    {
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "fcos_resnet50_fpn",
        "keypointrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_v2",
        "raft_large",
        "raft_small",
        "retinanet_resnet50_fpn",
        "retinanet_resnet50_fpn_v2",
        "ssd300_vgg16",
        "ssdlite320_mobilenet_v3_large",
    }
)
"""Those of torchvision that torch.fx can't trace."""

MISLED = frozenset({"hiera_tiny_224"})
"""Those that torch.fx traces another way than the model goes: it takes a mask that nobody gives for given."""


def tensors(network: Network, specimen: Specimen) -> list[tuple[str, tuple[Digest, ...]]]:
    """The name and the value's digest of each node that is a tensor, in order."""
    torch.manual_seed(0)
    found = []
    for event in network.walk(batch_of(specimen)):
        assert isinstance(event, Activation), event
        if isinstance(event.value, torch.Tensor):
            found.append((event.layer.name, digests_of(event.value)))
    assert network.differences == []
    return found


def eager(specimen: Specimen, graph: GraphNetwork) -> Network:
    """The eager stream; with the leaves of timm where torch.fx needed these."""
    if "leaves" not in graph.tracer_reason:
        return trace_model(specimen.module, batch_of(specimen), tracer="eager")
    leaves = _timm_leaves(specimen.module)
    assert leaves is not None
    mirrored = Leaves(leaves.classes, graph.wrapped)
    return EagerNetwork(specimen.module, batch_of(specimen), "", mirrored=mirrored)


def check(source: str, name: str) -> None:
    entry = exhibit(source, name)
    specimen = entry.load()
    graph = trace_model(specimen.module, batch_of(specimen), tracer="fx")
    assert isinstance(graph, GraphNetwork)
    expected = tensors(graph, specimen)
    network = eager(entry.load(), graph)
    assert network.tracer == "eager"
    found = tensors(network, specimen)
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [name for (name, ours), (_, theirs) in zip(found, expected, strict=True) if ours != theirs] == []
    assert network.outputs == graph.outputs
    assert len(found) > 15


@pytest.mark.parametrize(("source", "name"), CHEAP)
def test_both_streams_agree(source: str, name: str) -> None:
    check(source, name)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("source", "name"), [(found.source, found.name) for found in [*exhibits("torchvision"), *exhibits("timm")]]
)
def test_both_streams_agree_on_all(source: str, name: str) -> None:
    gc.collect()
    if name in UNTRACEABLE:
        specimen = exhibit(source, name).load()
        with pytest.raises(InputError):
            trace_model(specimen.module, batch_of(specimen), tracer="fx")
    elif name in MISLED:
        specimen = exhibit(source, name).load()
        network = trace_model(specimen.module, batch_of(specimen))
        assert network.tracer == "eager"
        assert network.tracer_reason.startswith("the graph that torch.fx traced")
    else:
        check(source, name)
