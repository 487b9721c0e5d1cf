"""The Python interface: what it takes and returns, and that nothing of the caller's is changed."""

import contextlib
import gc
import random
import weakref
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import reportgen
from models_for_tests import (
    Counting,
    Exact,
    HalfBroken,
    InPlaceFirst,
    Noisy,
    Remembering,
    Residual,
    SharedBuffer,
)

SPEC = f"{Path(__file__).resolve().parent / 'models_for_tests.py'}:residual"


def an_image(side: int = 8) -> torch.Tensor:
    return (torch.arange(3 * side * side) % 17 / 16).reshape(3, side, side)


def build(model: nn.Module | str, tmp_path: Path, **options: Any) -> Any:
    return reportgen.build(model, an_image(), tmp_path / "site", force=True, figures="channel_sum", **options)


def stream(model: nn.Module | str, **options: Any) -> Generator[Any, None, None]:
    return cast(Generator[Any, None, None], reportgen.stream(model, an_image(), **options))


def tensor_of(activation: Any) -> torch.Tensor:
    return cast(torch.Tensor, activation.value)


def exhaust(model: nn.Module, _: Path) -> None:
    for _activation in stream(model):
        pass


def close_early(model: nn.Module, _: Path) -> None:
    with contextlib.closing(stream(model)) as activations:
        next(activations)
        next(activations)


WAYS: dict[str, Callable[[nn.Module, Path], None]] = {
    "build": build,
    "stream": exhaust,
    "stream, closed": close_early,
}


@pytest.fixture(params=WAYS)
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[nn.Module], None]:
    """A way to have a module walked: a build, a stream read to its end, a stream left half way."""
    return lambda module: WAYS[request.param](module, tmp_path)


# The module


def attributes_of(module: nn.Module) -> list[tuple[str, str, int]]:
    """Return every attribute of every submodule, by name, with the identity of its value."""
    return [
        (name, key, id(value))
        for name, child in module.named_modules()
        for key, value in sorted(vars(child).items())
    ]


def values_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def training_module() -> Counting:
    """A module in the middle of training: gradients, a frozen part, one submodule in eval mode."""
    module = Counting()
    module(an_image()[None]).sum().backward()
    module.bn.eval()
    module.conv.weight.requires_grad_(False)
    return module


def test_flags_values_gradients_and_attributes_come_back(use: Callable[[nn.Module], None]) -> None:
    module = training_module()
    flags = {name: child.training for name, child in module.named_modules()}
    values, attributes = values_of(module), attributes_of(module)
    gradients = {name: value.grad for name, value in module.named_parameters()}
    copies = {name: None if grad is None else grad.clone() for name, grad in gradients.items()}
    wanted = {name: value.requires_grad for name, value in module.named_parameters()}
    use(module)
    assert {name: child.training for name, child in module.named_modules()} == flags
    assert flags == {"": True, "conv": True, "bn": False, "drop": True}
    assert attributes_of(module) == attributes
    for name, value in module.state_dict().items():
        assert torch.equal(value, values[name]), name
    for name, value in module.named_parameters():
        assert value.grad is gradients[name]
        assert value.requires_grad == wanted[name]
        assert value.grad is None or torch.equal(value.grad, cast(torch.Tensor, copies[name]))
    assert int(module.calls) == 1


def test_hooks_stay_and_nothing_is_added(use: Callable[[nn.Module], None]) -> None:
    module = Residual()
    module.conv1.register_forward_hook(lambda *_: None)
    module.conv1.register_full_backward_hook(lambda *_: None)
    module.bn1.register_forward_pre_hook(lambda *_: None)
    keys = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    before = [dict(vars(child)[key]) for child in module.modules() for key in keys]
    use(module)
    assert [dict(vars(child)[key]) for child in module.modules() for key in keys] == before


def test_attributes_that_the_forward_pass_sets_come_back(use: Callable[[nn.Module], None]) -> None:
    module = Remembering()
    kept = module.keeping.kept = torch.ones(1)
    use(module)
    assert module.keeping.kept is kept
    assert module.passes == 0


def test_buffers_that_share_memory_are_no_trouble(use: Callable[[nn.Module], None]) -> None:
    module = SharedBuffer()
    use(module)
    assert torch.equal(module.scale, torch.full((3, 1, 1), 2.0))
    assert module.scale.stride()[0] == 0


def test_random_states_come_back(use: Callable[[nn.Module], None]) -> None:
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    use(Noisy())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == str(numpy_state)
    assert random.getstate() == python_state


def test_a_model_specification_leaves_the_random_states_alone(tmp_path: Path) -> None:
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    build(SPEC, tmp_path, weights="none")
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == str(numpy_state)
    assert random.getstate() == python_state


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_tensors_and_pictures_that_are_passed_in_stay_as_they_are(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = (an_image() * 255).to(dtype)[None]
    picture = Image.linear_gradient("L").resize((8, 8))
    copies = tensor.clone(), picture.copy()
    reportgen.build(InPlaceFirst(), [tensor, picture], tmp_path / "site", size=8, figures="channel_sum")
    for _ in reportgen.stream(InPlaceFirst(), [tensor, picture], size=8):
        pass
    assert torch.equal(tensor, copies[0])
    assert (picture.mode, picture.tobytes()) == (copies[1].mode, copies[1].tobytes())


def test_a_module_comes_back_from_a_build_that_is_refused(tmp_path: Path) -> None:
    module = training_module()
    attributes = attributes_of(module)
    with pytest.raises(reportgen.UsageError):
        build(module, tmp_path, nodes="absent")
    assert attributes_of(module) == attributes
    assert module.training


# The stream


def test_the_stream_gives_every_node_in_order() -> None:
    names = [activation.layer.name for activation in stream(Residual())]
    assert names == ["x", "conv1", "bn1", "relu", "conv2", "add_", "relu_1", "pool", "flatten", "fc"]


def test_the_stream_gives_what_was_computed_before_it_is_overwritten() -> None:
    module = Residual().eval()
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        seen[name] = value.detach().clone()

    for name in ("conv1", "bn1", "conv2"):
        module.get_submodule(name).register_forward_hook(lambda _, __, value, name=name: keep(name, value))
    module(an_image()[None])
    found = {activation.layer.name: activation.value.clone() for activation in stream(Residual())}
    assert all(torch.equal(found[name], value) for name, value in seen.items())
    assert torch.equal(found["relu"], found["bn1"].clamp(min=0))
    assert torch.equal(found["add_"], found["conv2"] + found["relu"])


def test_values_are_borrowed_not_cloned() -> None:
    addresses: dict[str, int] = {}
    references: dict[str, weakref.ref[torch.Tensor]] = {}
    for activation in stream(Residual()):
        addresses[activation.layer.name] = activation.value.data_ptr()
        references[activation.layer.name] = weakref.ref(activation.value)
        if activation.layer.name == "flatten":
            gc.collect()
            assert references["conv1"]() is None
            assert references["relu"]() is None
            assert references["relu_1"]() is None
    assert addresses["bn1"] == addresses["relu"]
    assert addresses["conv2"] == addresses["add_"] == addresses["relu_1"]


def test_values_have_no_gradient_and_the_consumer_keeps_its_own_modes() -> None:
    for activation in stream(Residual().train()):
        assert not activation.value.requires_grad
        assert torch.is_grad_enabled()
        assert (torch.ones(1, requires_grad=True) * 2).requires_grad


def test_a_stream_within_no_grad_leaves_no_grad_on() -> None:
    with torch.no_grad():
        for _ in stream(Residual()):
            assert not torch.is_grad_enabled()
        assert not torch.is_grad_enabled()


def test_a_module_is_in_eval_mode_only_while_the_stream_is_open() -> None:
    module = training_module()
    activations = stream(module)
    next(activations)
    assert not module.training
    activations.close()
    assert module.training
    assert not module.bn.training
    assert torch.is_grad_enabled()


def test_a_stream_that_is_dropped_lets_go_of_the_module() -> None:
    module = training_module()
    for _ in stream(module):
        break
    gc.collect()
    assert module.training


def test_an_error_of_the_consumer_lets_go_of_the_module() -> None:
    module = training_module()
    with pytest.raises(ZeroDivisionError), contextlib.closing(stream(module)) as activations:
        for _ in activations:
            raise ZeroDivisionError
    assert module.training
    assert torch.is_grad_enabled()


def test_the_consumers_random_numbers_are_as_without_the_stream() -> None:
    nodes = len(list(stream(Noisy())))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        alone = [float(torch.rand(())) for _ in range(nodes)]
        torch.manual_seed(3)
        among = [float(torch.rand(())) for _ in stream(Noisy())]
    assert among == alone


def test_the_stream_repeats_for_every_batch() -> None:
    images = torch.stack([an_image(), 1 - an_image(), an_image() / 2])
    found = [
        (each.layer.name, len(each.images))
        for each in reportgen.stream(Exact(), images, batch_size=2, nodes="last")
    ]
    assert found == [("last", 2), ("last", 1)]


def test_the_stream_follows_the_selection() -> None:
    found = [activation.layer.name for activation in stream(Residual(), nodes=["conv*", "fc"], exclude="conv2")]
    assert found == ["conv1", "fc"]


def test_the_stream_ends_at_a_node_that_raises() -> None:
    module = HalfBroken().train()
    with pytest.raises(reportgen.IncompleteError, match=r"fail.*the valve is stuck"):
        list(stream(module))
    assert module.training


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"nodes": "absent"}, reportgen.UsageError),
        ({"node": "conv1"}, reportgen.UsageError),
        ({"size": "big"}, reportgen.UsageError),
    ],
)
def test_the_stream_refuses_what_build_refuses(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        next(stream(Residual(), **options))


# What goes in and out


def test_build_can_be_called_again_and_again(tmp_path: Path) -> None:
    for _ in range(2):
        assert reportgen.build(
            Residual(), an_image(), tmp_path / "site", force=True, figures="channel_sum"
        ).complete
    assert callable(reportgen.build)
    assert callable(reportgen.render)
    assert callable(reportgen.stream)


def test_the_report_says_where_and_what(tmp_path: Path) -> None:
    report = reportgen.build(
        Residual(), an_image(), tmp_path / "a b" / "site", title="Mine", figures=["channel_sum"]
    )
    assert report.site == tmp_path / "a b" / "site"
    assert report.address == (tmp_path / "a b" / "site" / "index.html").as_uri()
    assert report.complete
    assert report.warnings == ()
    assert report.record.title == "Mine"
    written = [path for path in report.site.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    assert (report.files, report.bytes) == (len(written), sum(path.stat().st_size for path in written))


def test_the_output_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = reportgen.build(Residual(), an_image(), "site", figures="channel_sum")
    assert report.address == (tmp_path / "site" / "index.html").as_uri()


def pictures(directory: Path) -> dict[str, Any]:
    """Return every form in which one image can be given."""
    picture = Image.linear_gradient("L").resize((10, 8)).convert("RGB")
    picture.save(directory / "ramp.png")
    levels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
    return {
        "text": str(directory / "ramp.png"),
        "path": directory / "ramp.png",
        "list": [directory / "ramp.png"],
        "generator": (item for item in [directory / "ramp.png"]),
        "directory": directory,
        "glob": str(directory / "*.png"),
        "PIL": picture,
        "uint8": levels,
        "batch": levels[None],
    }


@pytest.mark.parametrize(
    "form", ["text", "path", "list", "generator", "directory", "glob", "PIL", "uint8", "batch"]
)
def test_an_image_may_come_in_any_form(tmp_path: Path, form: str) -> None:
    (tmp_path / "pictures").mkdir()
    given = pictures(tmp_path / "pictures")
    [reference] = reportgen.stream(Residual(), given["path"], size=8, nodes="conv1")
    [found] = reportgen.stream(Residual(), given[form], size=8, nodes="conv1")
    assert torch.equal(tensor_of(found), tensor_of(reference))


def test_floating_tensors_go_into_the_network_unchanged() -> None:
    tensor = an_image() * 3 - 1
    [found] = reportgen.stream(Residual(), tensor, nodes="x")
    assert torch.equal(tensor_of(found)[0], tensor)


def test_an_unknown_option_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(reportgen.UsageError, match=r"max_chanels.*max_channels"):
        build(Residual(), tmp_path, max_chanels=3)


def test_a_module_keeps_its_weights(tmp_path: Path) -> None:
    with pytest.raises(reportgen.UsageError, match="weights"):
        build(Residual(), tmp_path, weights="none")


@pytest.mark.parametrize("images", [[], [3], [None], torch.zeros(2, 2), torch.zeros(0, 3, 4, 4)])
def test_images_that_are_none_are_refused(tmp_path: Path, images: Any) -> None:
    with pytest.raises(reportgen.InputError):
        reportgen.build(Residual(), images, tmp_path / "site")
    assert list(tmp_path.iterdir()) == []


def test_captions_that_match_nothing_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "texts" / "layers").mkdir(parents=True)
    (tmp_path / "texts" / "layers" / "conv9.md").write_text("Nobody home.")
    report = build(Residual(), tmp_path, captions=tmp_path / "texts")
    assert len(report.warnings) == 1
    assert "conv9" in report.warnings[0]
    assert report.complete


def test_a_module_converted_for_the_report_stays_as_it_is(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.ReLU())
    before = {name: (value, value.clone()) for name, value in [*module.named_parameters(), *module.named_buffers()]}
    assert module.training
    report = reportgen.build(module, torch.rand(3, 8, 8), tmp_path / "site", dtype="float64", figures="channel_sum")
    assert {layer.dtype for layer in report.record.layers} == {"float64"}
    assert module.training
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        assert value is before[name][0]
        assert torch.equal(value, before[name][1])


def test_arguments_that_json_cannot_hold_are_recorded_by_name(tmp_path: Path) -> None:
    given = {"norm_layer": nn.Identity, "num_classes": 3}
    report = reportgen.build(
        "resnet18", torch.rand(3, 32, 32), tmp_path / "site", weights="none", figures="channel_sum",
        nodes=["conv1", "fc"], model_arg=given,
    )  # fmt: skip
    assert report.record.options["model_arg"] == {"norm_layer": "Identity", "num_classes": 3}


def test_a_video_network_gets_clips_of_a_picture(tmp_path: Path) -> None:
    module = torchvision.models.video.r3d_18(num_classes=2)
    shapes = {
        activation.layer.name: tuple(activation.value.shape)
        for activation in reportgen.stream(module, Image.new("RGB", (40, 30)), size=16, nodes=["stem.0", "fc"])
        if isinstance(activation.value, torch.Tensor)
    }
    assert shapes == {"stem.0": (1, 64, 16, 8, 8), "fc": (1, 2)}
