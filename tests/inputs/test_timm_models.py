"""timm's models: names and tags, arguments, its own preprocessing, and refused downloads."""

import importlib
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from reportgen.errors import InputError, UsageError
from reportgen.inputs.models import Model, load_model

timm: Any = importlib.import_module("timm")


def load(name: str, **options: Any) -> Model:
    return load_model(f"timm:{name}", **{"weights": "none", **options})


@pytest.fixture
def picture() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8))


def same_values(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_random_values_are_those_of_the_seed_and_disturb_nobody() -> None:
    state = torch.random.get_rng_state()
    model = load("test_vit")
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert same_values(model.module, timm.create_model("test_vit"))
    assert not model.module.training
    assert (model.source, model.spec, model.random_weights) == ("timm", "timm:test_vit", True)
    assert model.categories == ()


@pytest.mark.parametrize("name", ["test_vit", "test_resnet.r160_in1k", "mobilenetv3_small_050.lamb_in1k"])
def test_pictures_are_prepared_as_timm_does(name: str, picture: PIL.Image.Image) -> None:
    model = load(name)
    config = timm.data.resolve_model_data_config(timm.create_model(name))
    expected = timm.data.create_transform(**config, is_training=False)(picture)
    assert torch.equal(model.preprocess.prepare(picture), expected)
    assert model.preprocess.size == tuple(config["input_size"][1:])
    assert model.preprocess.description.startswith(f"{name}'s own: resize ")
    assert model.preprocess.mean == tuple(config["mean"])


def test_the_users_changes_are_kept_in_proportion(picture: PIL.Image.Image) -> None:
    model = load("test_resnet", size=(64, 48), mean=[0.5])
    tensor = model.preprocess.prepare(picture)
    assert tensor.shape == (3, 64, 48)
    assert model.preprocess.mean == (0.5, 0.5, 0.5)
    assert model.preprocess.description.startswith("test_resnet's, changed: resize 67 x 50 ")
    seen = np.asarray(model.preprocess.restore(tensor), dtype=float)
    assert abs(seen.mean() - np.asarray(picture).mean()) < 6


def test_arguments_reach_timm() -> None:
    model = load("test_vit", arguments={"num_classes": 5, "in_chans": 1, "img_size": 96})
    assert model.preprocess.channels == 1
    assert model.preprocess.size == (96, 96)
    assert len(model.preprocess.mean) == 1
    gray = PIL.Image.new("RGB", (120, 100), "gray")
    assert model.module(model.preprocess.prepare(gray)[None]).shape == (1, 5)


def test_an_argument_that_timm_refuses_is_named() -> None:
    with pytest.raises(UsageError, match=r"^model-arg bogus: timm:test_resnet takes no such argument"):
        load("test_resnet", arguments={"bogus": 1})
    with pytest.raises(InputError, match=r"^model timm:test_vit: could not be built with img_size=-3 \("):
        load("test_vit", arguments={"img_size": -3})
    with pytest.raises(UsageError, match=r"^model-arg pretrained: "):
        load("test_vit", arguments={"pretrained": True})


def test_unknown_names_and_tags_come_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"^model timm:resnt18: unknown to timm .* did you mean resnet18"):
        load("resnt18")
    with pytest.raises(InputError, match=r"no weights nope; there are r160_in1k$"):
        load("test_resnet.nope")


def test_a_checkpoint_with_other_classes(tmp_path: Path) -> None:
    original = timm.create_model("test_resnet", num_classes=7)
    torch.save(original.state_dict(), tmp_path / "seven.pt")
    model = load("test_resnet", weights=tmp_path / "seven.pt")
    assert same_values(model.module, original)
    assert (model.weights, model.categories, model.random_weights) == ("seven.pt", (), False)


def test_a_checkpoint_of_its_own_classes_has_imagenets_names(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "own.pt")
    names = load("test_resnet", weights=tmp_path / "own.pt").categories
    assert len(names) == 1000
    assert names[0].startswith("tench")
    assert "toilet" in names[999]


def test_own_weights_are_asked_for_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def made(name: str, pretrained: bool = False, **arguments: Any) -> nn.Module:
        asked.append(pretrained)
        module: nn.Module = create(name, pretrained=False, **arguments)
        return module

    monkeypatch.setattr(timm, "create_model", made)
    model = load("test_resnet.r160_in1k", weights=None)
    assert (model.weights, model.random_weights, len(model.categories)) == ("r160_in1k", False, 1000)
    model = load("test_resnet.r160_in1k", weights="default", arguments={"num_classes": 3})
    assert (model.weights, model.categories) == ("r160_in1k, its classifier random", ())
    assert asked == [True, True]


def test_a_refused_download_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", refuse)
    with pytest.raises(InputError) as caught:
        load("test_resnet", weights="default")
    told = str(caught.value)
    assert told.startswith("model timm:test_resnet: its weights could not be had (gaierror: ")
    assert "--weights none" in told
    assert "--weights FILE" in told


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        InputError, match=r"^model timm:x: needs the package timm; pip install 'reportgen\[timm\]'$"
    ):
        load("x")
