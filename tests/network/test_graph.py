"""Names and selection, against torchvision's own naming and by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import get_graph_node_names

from network.architectures import build
from reportgen.errors import InputError, UsageError
from reportgen.network.graph import describe, trace
from reportgen.network.selection import select


def names(model: nn.Module, *, deep: bool = False) -> list[str]:
    return [layer.name for layer in trace(model, deep=deep).layers]


ARCHITECTURES = [
    "resnet18",
    "vgg11_bn",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "convnext_tiny",
    "efficientnet_b0",
]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_are_torchvisions(name: str) -> None:
    model = build(name)
    assert names(model) == get_graph_node_names(model)[1]


def test_resnet18_has_the_seventy_known_nodes() -> None:
    found = names(build("resnet18"))
    assert len(found) == 70
    assert "layer1.0.relu_1" in found
    assert found[0] == "x"
    assert found[-1] == "fc"


def test_children_that_are_sequentials_are_opened() -> None:
    class AlexNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            convolutions = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
            layers: list[nn.Module] = []
            for before, after, kernel in convolutions:
                layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
            for place in (2, 5, 12):
                layers.insert(place, nn.MaxPool2d(3, 2))
            self.features = nn.Sequential(*layers)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(
                nn.Dropout(), nn.Linear(256, 64), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(64, 10)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.classifier(torch.flatten(self.pool(self.features(x)), 1))
            return found

    model = AlexNet().eval()
    assert names(model) == get_graph_node_names(model)[1]
    assert names(model)[:3] == ["x", "features.0", "features.1"]
    assert len(names(model)) == 21


class Numbered(nn.Module):
    """Modules whose own names end in a number, called in the opposite order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.conv_1 = nn.Conv2d(3, 3, 1)
        self.conv_2 = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(self.conv_1(self.conv_2(x)))
        return found


def test_modules_keep_their_own_numbers() -> None:
    model = Numbered().eval()
    assert names(model) == ["x", "conv_2", "conv_1", "conv"]
    assert get_graph_node_names(model)[1] == ["x", "conv", "conv_1", "conv_2"]  # what it mends


def test_a_repeat_never_takes_a_modules_name() -> None:
    class Repeated(Numbered):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(self.conv(x))
            found: torch.Tensor = self.conv_1(self.conv_1(self.conv_2(x)))
            return found

    found = names(Repeated().eval())
    assert len(set(found)) == len(found)
    assert found == ["x", "conv", "conv_3", "conv_2", "conv_1", "conv_1_1"]


@pytest.mark.parametrize(
    ("first", "second"), [("a.b", "a_b"), ("weird name", "weird_name"), ("x(", "x["), ("<b>", "&")]
)
def test_names_that_are_no_patterns(first: str, second: str) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleDict({first.replace(".", "·"): nn.ReLU(), second.replace(".", "·"): nn.ReLU()})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for module in self.inner.values():
                x = module(x)
            return x

    found = trace(Odd()).layers
    assert [layer.name for layer in found[1:]] == [
        f"inner.{first.replace('.', '·')}",
        f"inner.{second.replace('.', '·')}",
    ]
    assert len({layer.slug for layer in found}) == 3


def test_deep_opens_composite_blocks() -> None:
    model = build("mobilenet_v2")
    assert len(names(model)) == 84
    deep = names(model, deep=True)
    # torch.fx itself, which knows nothing of torchvision's blocks, finds these and its `output` node.
    assert len(deep) == len(list(torch.fx.Tracer().trace(model).nodes)) - 1 == 154
    assert "features.0.0" in deep


def test_layers_know_their_parents_and_settings() -> None:
    layers = {layer.name: layer for layer in trace(build("resnet18")).layers}
    assert layers["layer2.0.add"].parents == ("layer2.0.bn2", "layer2.0.downsample.1")
    assert layers["conv1"].module_type == "Conv2d"
    assert layers["conv1"].detail == "3 to 64 channels, 7 × 7 kernel, stride 2"
    assert layers["layer2.0.add"].op == "call_function"
    assert layers["x"].op == "placeholder"
    assert layers["fc"].detail == "512 to 1000 features"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Conv2d(8, 8, (1, 7), groups=8), "8 to 8 channels, 1 × 7 kernel, stride 1, 8 groups"),
        (nn.Conv2d(4, 6, 3, dilation=2), "4 to 6 channels, 3 × 3 kernel, stride 1, dilation 2 × 2"),
        (nn.MaxPool2d(3, 2), "3 × 3 kernel, stride 2"),
        (nn.BatchNorm2d(5), "5 channels"),
        (nn.ReLU(), ""),
    ],
)
def test_describe(module: nn.Module, said: str) -> None:
    assert describe(module) == said


def test_trace_leaves_the_module_as_it_was() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            dropped: torch.Tensor = self.drop(x)
            return dropped + torch.tensor([1.0])  # torch.fx keeps this as an attribute of the traced module

    model = Constant().train()
    model.drop.eval()
    before = dict(vars(model))
    trace(model)
    assert vars(model) == before
    assert model.training
    assert not model.drop.training


def test_control_flow_is_refused_in_one_line() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"Branching: torch\.fx can't trace this model .*TraceError") as caught:
        trace(Branching())
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def pick() -> Callable[..., set[str]]:
    layers = trace(build("resnet18")).layers

    def selected(*patterns: str, exclude: tuple[str, ...] = ()) -> set[str]:
        return set(select(layers, dict.fromkeys(patterns, ""), exclude).names)

    return selected


def test_selection(pick: Callable[..., set[str]]) -> None:
    assert len(pick()) == 70
    assert pick("conv1") == {"conv1"}
    assert pick("layer3") == {"layer3.1.relu_1"}  # the last node inside, as torchvision has it
    assert pick("layer3.0") == {"layer3.0.relu_1"}
    assert pick("layer?.0.conv1") == {f"layer{stage}.0.conv1" for stage in (1, 2, 3, 4)}
    assert len(pick("layer1.*")) == 14
    assert pick("layer1.*", exclude=("*relu*", "*bn*", "layer1.0.*")) == {
        "layer1.1.conv1",
        "layer1.1.conv2",
        "layer1.1.add",
    }
    assert "fc" not in pick(exclude=("fc",))


def test_a_pattern_that_matches_nothing_names_the_nearest(pick: Callable[..., set[str]]) -> None:
    for patterns, exclude in ((("layer1.0.conv9",), ()), ((), ("layer1.0.conv9",))):
        with pytest.raises(UsageError, match=r"no node matches 'layer1\.0\.conv9'; did you mean layer1\.0\.conv"):
            pick(*patterns, exclude=exclude)
    with pytest.raises(UsageError, match=r"no node matches 'lay\*x'"):
        pick("lay*x")


def test_nothing_left_is_an_error(pick: Callable[..., set[str]]) -> None:
    with pytest.raises(UsageError, match="no node is left"):
        pick("conv1", exclude=("conv*",))


def test_titles_belong_to_the_nodes_they_select() -> None:
    layers = trace(build("resnet18")).layers
    selection = select(layers, {"layer3": "third stage", "conv1": ""})
    assert selection.titles == {"layer3.1.relu_1": "third stage"}
