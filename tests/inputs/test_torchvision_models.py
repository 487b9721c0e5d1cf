"""torchvision's models: by name, random, from checkpoints and, where the network allows, from the server."""

import hashlib
import socket
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision
from torch import nn

from reportgen.errors import InputError, UsageError
from reportgen.inputs.batches import batches, blank
from reportgen.inputs.images import find_images
from reportgen.inputs.models import Model, load_model
from reportgen.inputs.torchvision_models import TorchvisionModel, checkpoint_path, is_quantised
from reportgen.inputs.weights import read_state_dict


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub directory of its own, so that no test sees weights of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "hub" / "hub" / "checkpoints"


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_name_of_torchvision_is_found() -> None:
    for name in torchvision.models.list_models():
        found = TorchvisionModel.find(name)
        assert found.default in found.known.values()
        assert "unquantized" not in found.default.meta


def test_unknown_names_come_with_the_nearest() -> None:
    told = refusal(lambda: TorchvisionModel.find("resnet81"))
    assert told.startswith("model resnet81: unknown to torchvision")
    assert "did you mean resnet18, " in told
    assert len(told.split("did you mean ")[1].split(", ")) == 2  # a, b or c
    assert "did you mean resnet18" in refusal(lambda: TorchvisionModel.find("ResNet18"))
    told = refusal(lambda: TorchvisionModel.find("resnet50").weights("IMAGENET"))
    assert told == "model resnet50: no weights IMAGENET; there are DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2"


def test_weights_by_name() -> None:
    found = TorchvisionModel.find("resnet50")
    assert found.weights(None) is found.weights("DEFAULT") is torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    assert found.weights("IMAGENET1K_V1") is torchvision.models.ResNet50_Weights.IMAGENET1K_V1


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet", "lraspp_mobilenet_v3_large"])
def test_random_values_repeat_without_warnings_downloads_or_traces(name: str) -> None:
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (TorchvisionModel.find(name).build_untrained() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not first.training
    assert torch.equal(torch.random.get_rng_state(), state)


def save(module: nn.Module, path: Path) -> Path:
    torch.save(module.state_dict(), path)
    return path


def test_a_checkpoint_with_other_classes_gets_a_model_with_as_many(tmp_path: Path) -> None:
    original = torchvision.models.resnet18(num_classes=7)
    file = save(original, tmp_path / "seven.pt")
    module, same = TorchvisionModel.find("resnet18").build_with(read_state_dict(file), file.name, None)
    assert not same
    assert torch.equal(module.get_parameter("fc.weight"), original.fc.weight)
    assert torch.equal(module.get_buffer("bn1.running_var"), original.bn1.running_var)


def test_a_checkpoint_of_another_model_is_refused_with_every_key(tmp_path: Path) -> None:
    file = save(torchvision.models.squeezenet1_1(), tmp_path / "other.pt")
    told = refusal(lambda: TorchvisionModel.find("resnet18").build_with(read_state_dict(file), file.name, None))
    assert " missing: conv1.weight, bn1.weight, " in told
    for key in torchvision.models.squeezenet1_1().state_dict():
        assert key in told


def test_one_layer_of_another_width_is_misshapen_not_a_class_count(tmp_path: Path) -> None:
    state = torchvision.models.resnet18().state_dict()
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, tmp_path / "w.pt")
    found, read = TorchvisionModel.find("resnet18"), read_state_dict(tmp_path / "w.pt")
    told = refusal(lambda: found.build_with(read, "w.pt", None))
    assert "1 misshapen: conv1.weight ([64, 1, 7, 7] in the file, [64, 3, 7, 7] in the model)" in told


def test_published_checkpoints_of_odd_models_fit() -> None:
    """What torchvision's builders do for their own files is done for the same files given by hand."""
    lraspp = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    found = TorchvisionModel.find("lraspp_mobilenet_v3_large")
    assert found.build_with(lraspp.state_dict(), "w", None)[1]

    deeplab = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, aux_loss=True
    )
    module, _ = TorchvisionModel.find("deeplabv3_mobilenet_v3_large").build_with(deeplab.state_dict(), "w", None)
    assert module.get_submodule("aux_classifier")

    google = torchvision.models.googlenet(weights=None, init_weights=False)
    found = TorchvisionModel.find("googlenet")
    assert google.transform_input is False
    assert found.build_with(google.state_dict(), "w", found.default)[0].__dict__["transform_input"] is True


def test_the_first_densenets_key_names_are_understood() -> None:
    own = torchvision.models.densenet121().state_dict()
    old = {
        key.replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2")
        if "denselayer" in key
        else key: value
        for key, value in own.items()
        if "num_batches" not in key
    }
    module, _ = TorchvisionModel.find("densenet121").build_with(old, "w", None)
    key = "features.denseblock4.denselayer16.norm2.weight"
    assert key not in old
    assert torch.equal(module.state_dict()[key], own[key])


def test_a_published_file_is_recognised_by_its_hash() -> None:
    sha256 = hashlib.sha256(b"the file").hexdigest()
    member = SimpleNamespace(url=f"https://example.org/models/resnet18-{sha256[:8]}.pth")
    other = SimpleNamespace(url="https://example.org/models/resnet18-00000000.pth")
    found = TorchvisionModel("resnet18", nn.Identity, {"A": other, "B": member}, other)
    assert found.recognise(sha256) is member
    assert found.recognise("f" * 64) is None


def test_own_weights_come_from_the_hubs_directory(hub: Path) -> None:
    found = TorchvisionModel.find("squeezenet1_1")
    original = torchvision.models.squeezenet1_1()
    hub.mkdir(parents=True)
    assert checkpoint_path(found.default).parent == hub
    save(original, checkpoint_path(found.default))
    module = found.build_trained(found.default)
    assert not module.training
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), original.parameters(), strict=True))


def test_code_in_the_hubs_directory_never_runs(hub: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (hub / "ran",)

    hub.mkdir(parents=True)
    found = TorchvisionModel.find("squeezenet1_1")
    torch.save(Bomb(), checkpoint_path(found.default))
    assert "--weights FILE" in refusal(lambda: found.build_trained(found.default))
    assert not (hub / "ran").exists()


def raising(error: Exception) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise error

    return refuse


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        urllib.error.HTTPError("https://example.org", 403, "Forbidden", None, None),  # type: ignore[arg-type]
        TimeoutError("timed out"),
        ConnectionResetError(104, "Connection reset by peer"),
        RuntimeError('invalid hash value (expected "f37072fd", got "00")'),
        PermissionError(13, "Permission denied"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["torch.hub.urlopen", "torchvision.models._api.load_state_dict_from_url"])
def test_a_refused_download_names_both_ways_out(
    error: Exception, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, raising(error))
    found = TorchvisionModel.find("resnet18")
    told = refusal(lambda: found.build_trained(found.default))
    assert told.startswith("model resnet18: its weights IMAGENET1K_V1 could not be had (")
    assert type(error).__name__ in told
    assert "--weights none" in told
    assert "--weights FILE" in told


def test_waiting_for_the_server_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    def refuse(*_: object, **__: object) -> NoReturn:
        seen.append(socket.getdefaulttimeout())
        raise TimeoutError

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    found, before = TorchvisionModel.find("resnet18"), socket.getdefaulttimeout()
    socket.setdefaulttimeout(77)
    try:
        refusal(lambda: found.build_trained(found.default))
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(before)
    assert seen[0] is not None
    assert 5 <= seen[0] <= 60


def test_no_server_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way down to the socket, to a name that never resolves (RFC 2606)."""
    weights = SimpleNamespace(name="W", url="https://weights.invalid/net-00000000.pth", meta={})

    def build(weights: Any, progress: bool) -> nn.Module:
        torch.hub.load_state_dict_from_url(weights.url, progress=progress, check_hash=True)
        return nn.Identity()

    found = TorchvisionModel("net", build, {"W": weights}, weights)
    assert "URLError" in refusal(lambda: found.build_trained(weights))


def run(model: Model, picture: PIL.Image.Image | None = None) -> Any:
    """Call a model as it is to be called, with a picture or, by default, with nothing to be seen."""
    cpu = torch.device("cpu")
    if picture is None:
        batch = blank(model.preprocess, model.form, cpu, torch.float32)
    else:
        (batch,) = batches(find_images([picture]), model.preprocess, 1, cpu, torch.float32, form=model.form)
    with torch.no_grad():
        return model.module(*batch.arguments, **batch.kwargs)


@pytest.fixture
def picture() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (140, 170, 3), dtype=np.uint8))


def test_detection_takes_a_list_of_unnormalised_pictures_of_any_size(picture: PIL.Image.Image) -> None:
    model = load_model("ssdlite320_mobilenet_v3_large", weights="none")
    assert (model.source, model.form.most, model.categories) == ("torchvision", 1, ())
    tensor = model.preprocess.prepare(picture)
    assert np.array_equal((tensor * 255).round().byte().permute(1, 2, 0).numpy(), np.asarray(picture))
    (found,) = run(model, picture)
    assert set(found) == {"boxes", "scores", "labels"}
    assert load_model("ssdlite320_mobilenet_v3_large", weights="none", size=64).preprocess.prepare(
        picture
    ).shape == (3, 64, 64)


def test_video_takes_clips_as_its_own_weights_prepare_them(picture: PIL.Image.Image) -> None:
    model = load_model("r3d_18", weights="none")
    assert model.form.frames == 16
    frames = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).expand(16, -1, -1, -1)
    expected = torchvision.models.video.R3D_18_Weights.DEFAULT.transforms()(frames)
    sources, cpu = find_images([picture]), torch.device("cpu")
    (batch,) = batches(sources, model.preprocess, 1, cpu, torch.float32, form=model.form)
    torch.testing.assert_close(batch.tensor[0], expected)
    assert run(model, picture).shape == (1, 400)
    changed = load_model("r3d_18", weights="none", mean=[0.43216, 0.394666, 0.37645]).preprocess
    torch.testing.assert_close(changed.prepare(picture), expected[:, 0])


def test_optical_flow_takes_pairs(picture: PIL.Image.Image) -> None:
    model = load_model("raft_small", weights="none", size=(128, 136))
    flows = run(model, picture)
    assert flows[-1].shape == (1, 2, 128, 136)
    black = model.preprocess.prepare(PIL.Image.new("RGB", (300, 300)))
    assert bool((black == -1).all())
    for size in (130, (64, 128)):
        with pytest.raises(UsageError, match="the model takes multiples of 8 pixels, at least 128"):
            load_model("raft_small", weights="none", size=size)


@pytest.mark.parametrize(
    ("name", "size"), [("squeezenet1_1", 224), ("inception_v3", 299), ("quantized_inception_v3", 299)]
)
def test_the_standard_size_except_where_another_is_demanded(name: str, size: int) -> None:
    assert load_model(name, weights="none").preprocess.size == (size, size)


def test_a_transformer_of_another_size_is_given_that() -> None:
    model = load_model("vit_b_32", weights="none", arguments={"image_size": 64, "num_classes": 3})
    assert model.preprocess.size == (64, 64)
    assert run(model).shape == (1, 3)


@pytest.mark.parametrize("quantize", [False, True])
def test_quantizable_models_are_float_or_quantised(quantize: bool, picture: PIL.Image.Image) -> None:
    if quantize and "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this machine's torch has no quantised kernels")
    model = load_model("quantized_shufflenet_v2_x0_5", weights="none", arguments={"quantize": quantize})
    convolutions = [child for child in model.module.modules() if "Conv" in type(child).__name__]
    assert {isinstance(child, nn.Conv2d) for child in convolutions} == {not quantize}
    assert run(model, picture).shape == (1, 1000)


def test_weights_of_integers_are_had_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = TorchvisionModel.find("quantized_resnet18")
    weights = found.weights("IMAGENET1K_FBGEMM_V1")
    assert is_quantised(weights)
    assert not is_quantised(found.default)
    asked: list[dict[str, Any]] = []

    def build(**config: Any) -> nn.Module:
        asked.append(config)
        return nn.Identity()

    fake = TorchvisionModel("net", build, found.known, found.default)
    fake.build_trained(weights)
    fake.build_trained(found.default)
    assert [config.get("quantize") for config in asked] == [True, None]


def test_arguments_reach_the_builder(picture: PIL.Image.Image) -> None:
    model = load_model("fcn_resnet50", weights="none", size=32, arguments={"aux_loss": True, "num_classes": 4})
    made = run(model, picture)
    assert {name: value.shape for name, value in made.items()} == {"out": (1, 4, 32, 32), "aux": (1, 4, 32, 32)}


def test_arguments_that_the_builder_refuses_are_named() -> None:
    for name, argument in (("resnet18", "depth"), ("resnet18", "weights"), ("fcn_resnet50", "weights_backbone")):
        with pytest.raises(UsageError, match=f"^model-arg {argument}: "):
            load_model(name, weights="none", arguments={argument: 4})
    with pytest.raises(InputError, match=r"^model resnet18: could not be built with groups=3 \("):
        load_model("resnet18", weights="none", arguments={"groups": 3})


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "r3d_18", "raft_small"])
def test_a_module_passed_in_is_known_by_its_class(name: str) -> None:
    module = TorchvisionModel.find(name).build_untrained()
    passed, named = load_model(module), load_model(name, weights="none")
    assert passed.module is module
    assert passed.form == named.form
    assert passed.preprocess.description == named.preprocess.description


@pytest.mark.sweep
@pytest.mark.parametrize("name", torchvision.models.list_models())
def test_every_model_can_be_called(name: str) -> None:
    run(load_model(name, weights="none"))
