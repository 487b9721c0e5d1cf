"""load_model: what each form of MODEL and of weights gives."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from reportgen.errors import InputError, UsageError
from reportgen.inputs.models import load_model
from reportgen.inputs.torchvision_models import TorchvisionModel, checkpoint_path

NETWORK = """
from torch import nn

def shapenet():
    print("building")
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(), nn.Flatten())

def gray():
    return nn.Sequential(nn.Conv2d(1, 4, 3))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "network.py").write_text(NETWORK)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path


def same_values(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_a_module_comes_back_as_it_was(training: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).train(training)
    before, state = snapshot(module), torch.random.get_rng_state()
    model = load_model(module)
    assert model.module is module
    assert module.training is training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (model.spec, model.weights, model.weights_sha256) == ("Sequential", "as given", None)
    assert (model.categories, model.random_weights) == ((), False)
    assert load_model(module, weights="default").weights == "as given"


@pytest.mark.parametrize("weights", ["none", "file.pt", Path("file.pt")])
def test_a_module_takes_no_weights(weights: str | Path, folder: Path) -> None:
    module = nn.Conv2d(3, 2, 1)
    torch.save(nn.Conv2d(3, 2, 1).state_dict(), folder / "file.pt")
    before = snapshot(module)
    with pytest.raises(UsageError, match="keeps the weights it has"):
        load_model(module, weights=weights, directory=folder)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_factory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("network.py:shapenet", directory=folder)
    assert (model.spec, model.weights, model.weights_sha256) == (
        "network.py:shapenet",
        "as the factory made them",
        None,
    )
    assert not model.module.training
    assert not model.random_weights
    assert same_values(model.module, load_model(f"{folder}/network.py:shapenet", weights="default").module)
    assert capsys.readouterr().out == ""  # stdout carries data only
    assert model.preprocess.channels == 3


def test_paths_start_at_the_current_directory_by_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_model("network.py:gray").spec == "network.py:gray"
    assert load_model("./network.py:gray").spec == "network.py:gray"


def test_a_factory_with_random_values(folder: Path) -> None:
    state = torch.random.get_rng_state()
    first, second = (load_model("network.py:gray", weights="none", directory=folder) for _ in range(2))
    assert first.random_weights
    assert first.weights == "none: random values, seed 0"
    assert same_values(first.module, second.module)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("as_path", [True, False])
def test_a_factory_with_a_file(name: str, as_path: bool, folder: Path) -> None:
    state = {"0.weight": torch.full((4, 1, 3, 3), 0.5), "0.bias": torch.arange(4.0)}
    save: Any = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    save(state, folder / name)
    weights = folder / name if as_path else name
    model = load_model("network.py:gray", weights=weights, directory=folder)
    assert model.module.state_dict()["0.bias"].tolist() == [0, 1, 2, 3]
    assert model.module.state_dict()["0.weight"].unique().tolist() == [0.5]
    assert (model.weights, model.random_weights) == (name, False)
    assert model.weights_sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_files_called_like_the_words_are_reached_as_paths(folder: Path) -> None:
    torch.save({"0.weight": torch.ones(4, 1, 3, 3), "0.bias": torch.ones(4)}, folder / "none")
    assert load_model("network.py:gray", weights="none", directory=folder).random_weights
    for weights in ("./none", Path("none")):
        assert load_model("network.py:gray", weights=weights, directory=folder).weights == "none"


def test_refusals_are_one_line_of_input_error(folder: Path) -> None:
    torch.save({"0.weight": torch.ones(2, 1, 3, 3)}, folder / "w.pt")
    cases: list[tuple[str, str | None, str]] = [
        ("network.py:gray", "w.pt", "1 missing: 0.bias; 1 misshapen: 0.weight"),
        ("network.py:gray", "wx.pt", "weights wx.pt: no such file; did you mean w.pt or"),
        ("resnet18", "IMAGENET1K_V1", "MODEL@NAME"),
        ("resnet18@V9", "none", "no weights V9; there are DEFAULT, IMAGENET1K_V1"),
        ("resnt18", None, "did you mean resnet18,"),
        ("torchvision:resnt18", None, "did you mean resnet18,"),
        ("timm:resnt18", None, "did you mean resnet18,"),
        ("network.py", None, "file.py:factory"),
        ("some/where/network", None, "file.py:factory"),
        ("network.py:grey", None, "there is no grey; did you mean gray"),
        ("", None, "file.py:factory"),
    ]
    for spec, weights, told in cases:
        with pytest.raises(InputError) as caught:
            load_model(spec, weights=weights, directory=folder)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


def test_channels_follow_the_first_convolution(folder: Path) -> None:
    assert load_model("network.py:gray", directory=folder).preprocess.channels == 1
    assert load_model(nn.Sequential(nn.ReLU(), nn.Conv3d(2, 1, 1), nn.Conv2d(1, 1, 1))).preprocess.channels == 2
    assert load_model(nn.Linear(4, 4)).preprocess.channels == 3
    assert load_model(nn.Linear(4, 4), mean=[0.5]).preprocess.channels == 1
    assert load_model(nn.Conv2d(3, 1, 1), mean=[0.5]).preprocess.mean == (0.5, 0.5, 0.5)
    assert load_model(nn.LazyConv2d(2, 1)).preprocess.channels == 3
    with pytest.raises(UsageError, match="1 channels"):
        load_model("network.py:gray", mean=[0.1, 0.2, 0.3], directory=folder)


def test_options_reach_the_preprocessing(folder: Path) -> None:
    model = load_model("network.py:shapenet", size=16, mean=[0.5], std=[0.5], directory=folder)
    assert model.preprocess.size == (16, 16)
    white = PIL.Image.new("RGB", (30, 20), "white")
    assert model.preprocess.prepare(white).flatten().tolist() == [1.0] * 768
    assert model.module(model.preprocess.prepare(white)[None]).shape == (1, 4 * 14 * 14)
    with pytest.raises(UsageError, match="size 0"):
        load_model("no-such-model", size=0)


def test_torchvision_with_random_values() -> None:
    model = load_model("squeezenet1_1", weights="none", size=64)
    torch.manual_seed(0)
    assert same_values(model.module, torchvision.models.squeezenet1_1(weights=None))
    assert model.random_weights
    assert (model.spec, model.weights) == ("squeezenet1_1", "none: random values, seed 0")
    assert (model.categories, model.weights_sha256) == ((), None)
    assert model.preprocess.description.startswith("standard: resize 73, centre crop 64")
    assert load_model("torchvision:squeezenet1_1@DEFAULT", weights="none").spec.endswith("@DEFAULT")


def test_torchvisions_own_weights_from_the_hubs_directory(folder: Path) -> None:
    member = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    file = checkpoint_path(member)
    file.parent.mkdir(parents=True)
    original = torchvision.models.squeezenet1_1()
    torch.save(original.state_dict(), file)
    state = torch.random.get_rng_state()
    for spec, weights in (("squeezenet1_1", None), ("torchvision:squeezenet1_1@IMAGENET1K_V1", "default")):
        model = load_model(spec, weights=weights)
        assert same_values(model.module, original)
        assert model.categories == tuple(member.meta["categories"])
        assert model.spec == spec
        assert model.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert model.weights.startswith("IMAGENET1K_V1, but squeezenet1_1-b8a52dc0.pth is not the file")
        assert not model.random_weights
        assert model.preprocess.description.startswith("IMAGENET1K_V1's own: resize 256, centre crop 224")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_genuine_file_in_the_hubs_directory_is_named_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    member = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    checkpoint_path(member).parent.mkdir(parents=True)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), checkpoint_path(member))
    monkeypatch.setattr(TorchvisionModel, "recognise", lambda self, sha256: member)
    assert load_model("squeezenet1_1").weights == "IMAGENET1K_V1"


def test_a_torchvision_checkpoint_of_the_users_own(folder: Path) -> None:
    original = torchvision.models.mobilenet_v3_large()
    torch.save({"model": original.state_dict()}, folder / "mine.pt")
    model = load_model("mobilenet_v3_large", weights="mine.pt", directory=folder)
    default = torchvision.models.MobileNet_V3_Large_Weights.DEFAULT
    assert same_values(model.module, original)
    assert model.categories == tuple(default.meta["categories"])
    assert (model.weights, model.random_weights) == ("mine.pt", False)
    assert model.preprocess.description.startswith("IMAGENET1K_V2's own: resize 232")
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    torch.testing.assert_close(model.preprocess.prepare(picture), default.transforms()(picture), rtol=0, atol=0)
    chosen = load_model("mobilenet_v3_large@IMAGENET1K_V1", weights="mine.pt", directory=folder)
    assert chosen.preprocess.description.startswith("IMAGENET1K_V1's own: resize 256")


def test_a_torchvision_checkpoint_with_other_classes_has_no_categories(folder: Path) -> None:
    torch.save(torchvision.models.squeezenet1_1(num_classes=5).state_dict(), folder / "five.pt")
    model = load_model("squeezenet1_1", weights="five.pt", directory=folder)
    assert model.categories == ()
    assert model.module(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_a_published_checkpoint_is_treated_as_its_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V1
    torch.save(torchvision.models.mobilenet_v3_large().state_dict(), folder / "renamed.pt")
    monkeypatch.setattr(TorchvisionModel, "recognise", lambda self, sha256: member)
    model = load_model("mobilenet_v3_large", weights="renamed.pt", directory=folder)
    assert model.weights == "renamed.pt (IMAGENET1K_V1)"
    assert model.preprocess.description.startswith("IMAGENET1K_V1's own: resize 256")


def test_a_transformer_of_one_size_gets_that_size(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Its default weights have another size than the model that the builder makes without weights."""
    weights = torchvision.models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1
    tiny = torchvision.models.VisionTransformer(224, 32, 1, 1, 32, 32)
    torch.save(tiny.state_dict(), folder / "tiny.pt")

    def build(weights: None, image_size: int = 224) -> nn.Module:
        made: nn.Module = torchvision.models.VisionTransformer(image_size, 32, 1, 1, 32, 32)
        return made

    fake = TorchvisionModel("vit_b_16", build, {weights.name: weights}, weights)
    monkeypatch.setattr(TorchvisionModel, "find", lambda name: fake)
    model = load_model("vit_b_16", weights="tiny.pt", directory=folder)
    assert model.preprocess.size == (224, 224)
    with pytest.raises(InputError, match=r"misshapen: encoder\.pos_embedding"):
        load_model("vit_b_16@IMAGENET1K_SWAG_E2E_V1", weights="tiny.pt", directory=folder)


def test_stderr_gets_what_the_users_code_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_model("network.py:shapenet", directory=folder)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "building\n")
    assert sys.stdout is not sys.stderr


class Asking(nn.Module):
    """A module that wants more than a picture."""

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return image + text


def test_a_module_that_needs_more_is_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"^model Asking: forward needs the argument 'text', which a picture can't"
    ):
        load_model(Asking())


def test_each_source_is_named(folder: Path) -> None:
    assert load_model("squeezenet1_1", weights="none").source == "torchvision"
    assert load_model("network.py:gray", directory=folder).source == "factory"
    assert load_model(nn.Conv2d(3, 2, 1)).source == "module"


def test_a_module_takes_no_arguments() -> None:
    with pytest.raises(UsageError, match="model-arg depth: a module that is passed in is built already"):
        load_model(nn.Conv2d(3, 2, 1), arguments={"depth": 4})


def test_arguments_reach_the_factory(folder: Path) -> None:
    code = "from torch import nn\ndef net(width=2, **more):\n    return nn.Conv2d(3, width, **more)\n"
    (folder / "wide.py").write_text(code)
    given = {"width": 5, "kernel_size": 3}
    model = load_model("wide.py:net", directory=folder, arguments=given)
    assert model.module.get_parameter("weight").shape == (5, 3, 3, 3)
