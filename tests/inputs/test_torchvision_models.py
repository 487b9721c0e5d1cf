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

import pytest
import torch
import torchvision
from torch import nn

from reportgen.errors import InputError
from reportgen.inputs.torchvision_models import TorchvisionModel, checkpoint_path
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


def test_every_name_of_torchvision_is_found_or_refused_with_a_reason() -> None:
    refused = {}
    for name in torchvision.models.list_models():
        try:
            found = TorchvisionModel.find(name)
        except InputError as error:
            refused[name] = str(error)
        else:
            assert found.default in found.known.values()
            assert "unquantized" not in found.default.meta
    assert {name for name, told in refused.items() if "video clips" in told} == {
        name for name, builder in _builders() if ".video." in builder
    }
    assert {name for name, told in refused.items() if "pairs of pictures" in told} == {
        "raft_large",
        "raft_small",
    }
    assert all("not single pictures" in told for told in refused.values())


def _builders() -> list[tuple[str, str]]:
    names = torchvision.models.list_models()
    return [(name, torchvision.models.get_model_builder(name).__module__) for name in names]


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
