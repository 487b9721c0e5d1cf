"""The sample network: its drawings, its saved epochs, and the accuracy its README claims."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import fx, nn

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FOLDER = SAMPLES / "shapenet"
EPOCHS = sorted((FOLDER / "epochs").glob("epoch_*.safetensors"))
WEIGHTS = FOLDER / "weights.safetensors"
SEED = 90_210  # train.py uses 1, 2 and 3


def load_by_path(name: str) -> ModuleType:
    """Import a file of the sample under a name that can't meet another module's."""
    spec = importlib.util.spec_from_file_location(f"shapenet_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


draw = load_by_path("draw")
network = load_by_path("network")


def load_network(weights: Path) -> nn.Module:
    model: nn.Module = network.shapenet()
    model.load_state_dict(load_file(weights), strict=True)
    return model.eval()


@torch.inference_mode()
def classify(model: nn.Module, pictures: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the class numbers (N,) that the network gives to pictures (N, H, W, 3)."""
    scaled = (pictures / 255 - np.array(network.MEAN)) / np.array(network.STD)
    logits = model(torch.from_numpy(scaled.astype(np.float32).transpose(0, 3, 1, 2)))
    classes: NDArray[np.int64] = logits.numpy().argmax(axis=1)
    return classes


def picture_bytes(label: int, seed: int, size: int = 64) -> bytes:
    picture: Image.Image = draw.draw(label, np.random.default_rng(seed), size)
    return picture.tobytes()


@pytest.fixture(scope="module")
def fresh() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """800 pictures the network has never met, a hundred of each class in turn."""
    rng, labels = np.random.default_rng(SEED), np.arange(800) % 8
    return np.stack([np.asarray(draw.draw(int(label), rng)) for label in labels]), labels


def test_accuracy_on_fresh_pictures_is_what_the_readme_says(
    fresh: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    pictures, labels = fresh
    correct = classify(load_network(WEIGHTS), pictures) == labels
    claim = re.search(r"Accuracy on 2,000 fresh pictures: ([\d.]+) %", (FOLDER / "README.md").read_text("utf-8"))
    assert claim is not None
    assert correct.mean() > 0.95
    assert 100 * correct.mean() == pytest.approx(float(claim[1]), abs=2.0)
    assert min(correct[labels == label].mean() for label in range(8)) > 0.85


def test_the_saved_epochs_go_from_chance_to_the_finished_network(
    fresh: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    pictures, labels = fresh[0][:400], fresh[1][:400]
    accuracies = [(classify(load_network(epoch), pictures) == labels).mean() for epoch in EPOCHS]
    assert len(EPOCHS) == 4
    assert EPOCHS[0].stem == "epoch_00"
    assert accuracies[0] < 0.25
    assert accuracies[0] < accuracies[1] < accuracies[2] < accuracies[3]


def test_the_last_epoch_is_the_finished_network() -> None:
    assert EPOCHS[-1].read_bytes() == WEIGHTS.read_bytes()


@pytest.mark.parametrize("weights", [WEIGHTS, *EPOCHS], ids=lambda path: path.stem)
def test_weights_match_the_architecture_and_carry_no_metadata(weights: Path) -> None:
    expected = {name: (value.shape, value.dtype) for name, value in network.shapenet().state_dict().items()}
    saved = {name: (value.shape, value.dtype) for name, value in load_file(weights).items()}
    assert saved == expected
    with safe_open(weights, framework="numpy") as file:
        assert not file.metadata()


def test_the_files_stay_small() -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    assert sum(epoch.stat().st_size for epoch in EPOCHS) < 4_000_000
    photographs = list((SAMPLES / "photographs").glob("*.jpg"))
    assert len(photographs) == 4
    assert sum(photograph.stat().st_size for photograph in photographs) < 400_000


def test_the_network_has_its_stages_and_can_be_traced() -> None:
    model = network.shapenet()
    traced = fx.symbolic_trace(model.eval())
    batch = torch.rand(2, 3, network.SIZE, network.SIZE, generator=torch.Generator().manual_seed(0))
    assert [name for name, _ in model.named_children()] == [
        "stem",
        "stage1",
        "stage2",
        "stage3",
        "pool",
        "fc",
    ]
    assert sum(parameter.numel() for parameter in model.parameters()) < 220_000
    assert sum(node.op == "call_function" and "add" in node.name for node in traced.graph.nodes) == 6
    torch.testing.assert_close(traced(batch), model(batch), rtol=0, atol=0)
    assert model(batch).shape == (2, len(network.CLASSES))


def test_drawing_is_decided_by_the_generator() -> None:
    for label in range(8):
        assert picture_bytes(label, seed=1) == picture_bytes(label, seed=1)
        assert picture_bytes(label, seed=1) != picture_bytes(label, seed=2)
    assert len({picture_bytes(label, seed=1) for label in range(8)}) == 8


def test_drawing_larger_gives_the_same_scene() -> None:
    for label in range(8):
        small = draw.draw(label, np.random.default_rng(5), 64)
        large = draw.draw(label, np.random.default_rng(5), 256).resize((64, 64), Image.Resampling.BOX)
        assert np.abs(np.asarray(small, float) - np.asarray(large, float)).mean() < 8


def test_many_pictures_are_balanced_and_shuffled() -> None:
    pictures, labels = draw.draw_many(24, np.random.default_rng(3), 32)
    assert pictures.shape == (24, 32, 32, 3)
    assert pictures.dtype == np.uint8
    assert np.bincount(labels).tolist() == [3] * 8
    assert labels.tolist() != sorted(labels)


def test_drawing_and_network_agree_on_classes_and_pixels(
    fresh: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    pictures, _ = fresh
    assert tuple(draw.KINDS) == network.CLASSES
    assert pictures.shape[1:] == (network.SIZE, network.SIZE, 3)
    assert np.mean(pictures, axis=(0, 1, 2)) / 255 == pytest.approx(network.MEAN, abs=0.02)
    assert np.std(pictures, axis=(0, 1, 2)) / 255 == pytest.approx(network.STD, abs=0.02)


@pytest.mark.parametrize("path", sorted((SAMPLES / "shapes").glob("*.png")), ids=lambda path: path.stem)
def test_the_sample_shapes_are_named_after_what_the_network_sees(path: Path) -> None:
    with Image.open(path) as picture:
        assert picture.size == (256, 256)
        small = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
    predicted = classify(load_network(WEIGHTS), small[None])[0]
    assert network.CLASSES[predicted].replace(" ", "-") == path.stem


@pytest.mark.parametrize("path", sorted((SAMPLES / "photographs").glob("*.jpg")), ids=lambda path: path.stem)
def test_photographs_are_modest_in_size_and_carry_no_metadata(path: Path) -> None:
    with Image.open(path) as photograph:
        assert max(photograph.size) <= 640
        assert not photograph.getexif()
        assert not {"icc_profile", "exif", "comment", "photoshop", "xmp"} & set(photograph.info)
    assert path.name in (SAMPLES / "photographs" / "README.md").read_text("utf-8")
