"""Pictures to network input and back, against torchvision's transforms and against arithmetic by hand."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision
from torchvision import transforms as T  # noqa: N812 (its usual name)
from torchvision.transforms import _presets

from reportgen.errors import InputError, UsageError
from reportgen.inputs.preprocess import Overrides, Preprocess, preset_preprocess, standard_preprocess

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are slower on several threads, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(width: int = 97, height: int = 61, mode: str = "RGB") -> PIL.Image.Image:
    """Noise over a gradient: any shift by a pixel, and any other interpolation, changes the values."""
    noise = np.random.default_rng(3).integers(0, 90, (height, width, 3))
    ramp = np.linspace(0, 160, width)[None, :, None]
    return PIL.Image.fromarray((noise + ramp).astype(np.uint8)).convert(mode)


def pixels(image: PIL.Image.Image) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(image).astype(np.int64)


@pytest.mark.parametrize("size", [(97, 61), (61, 97), (50, 50), (33, 400)])
def test_standard_is_torchvisions_usual_composition(size: tuple[int, int]) -> None:
    image = picture(*size)
    oracle = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    ours = standard_preprocess(3)
    torch.testing.assert_close(ours.prepare(image), oracle(image), rtol=0, atol=0)
    assert (ours.channels, ours.size, ours.mean, ours.std) == (3, (224, 224), IMAGENET_MEAN, IMAGENET_STD)
    assert ours.prepare(image).dtype == torch.float32


@pytest.mark.parametrize(("size", "resized"), [(64, 73), (224, 256), (1, 1), (7, 8)])
def test_size_scales_the_margin(size: int, resized: int) -> None:
    image = picture()
    oracle = T.Compose([T.Resize(resized), T.CenterCrop(size), T.ToTensor()])(image)
    ours = standard_preprocess(3, size=size, mean=[0], std=[1])
    torch.testing.assert_close(ours.prepare(image), oracle, rtol=0, atol=0)
    assert ours.size == (size, size)


@pytest.mark.parametrize("shape", [(97, 61), (61, 97), (20, 300), (300, 20)])
def test_a_size_that_is_not_square_is_covered_without_distortion(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    seen = standard_preprocess(3, size=(21, 70)).restore(standard_preprocess(3, size=(21, 70)).prepare(image))
    scale = max(24 / image.height, 80 / image.width)  # 21 x 70 times 256 / 224
    scaled = image.resize(
        (int(image.width * scale + 1e-9), int(image.height * scale + 1e-9)), PIL.Image.Resampling.BILINEAR
    )
    left, top = round((scaled.width - 70) / 2), round((scaled.height - 21) / 2)
    assert seen.size == (70, 21)
    np.testing.assert_array_equal(pixels(seen), pixels(scaled.crop((left, top, left + 70, top + 21))))


def test_restore_gives_the_resized_and_cropped_original() -> None:
    image = picture()
    preprocess = standard_preprocess(3, size=48)
    expected = T.CenterCrop(48)(T.Resize(55)(image))
    seen = preprocess.restore(preprocess.prepare(image))
    assert seen.mode == "RGB"
    np.testing.assert_array_equal(pixels(seen), pixels(expected))


def test_one_channel_is_gray_with_the_averages_of_imagenet() -> None:
    image = picture()
    preprocess = standard_preprocess(1, size=40)
    gray = T.CenterCrop(40)(T.Resize(46)(image.convert("L")))
    values = preprocess.prepare(image)
    assert values.shape == (1, 40, 40)
    np.testing.assert_allclose(values[0].numpy(), (pixels(gray) / 255 - 0.449) / 0.226, atol=1e-6)
    seen = preprocess.restore(values)
    assert seen.mode == "L"
    np.testing.assert_array_equal(pixels(seen), pixels(gray))


def test_other_channel_counts_are_refused_for_pictures_only() -> None:
    preprocess = standard_preprocess(5)
    with pytest.raises(InputError, match=r"5 channels.*tensors of shape \(5, height, width\)"):
        preprocess.prepare(picture())
    seen = preprocess.restore(torch.stack([torch.full((2, 3), level / 10) for level in range(5)]))
    assert (seen.mode, seen.size) == ("L", (3, 2))
    assert set(pixels(seen).ravel()) == {round(0.2 * 255)}


def test_restore_of_values_out_of_range_and_undefined() -> None:
    plain = Preprocess("", 1, (), (), lambda image: torch.zeros(1), (1, 5))
    values = torch.tensor([[[-3.0, 7.0, float("nan"), float("inf"), float("-inf")]]])
    assert pixels(plain.restore(values)).tolist() == [[0, 255, 0, 255, 0]]
    normal = standard_preprocess(3, mean=[0.5], std=[0.25])
    levels = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1).half()
    assert pixels(normal.restore(levels)).tolist() == [[[128, 191, 255]]]


def test_restore_rounds_to_the_nearest_level() -> None:
    plain = Preprocess("", 1, (), (), lambda image: torch.zeros(1), (1, 3))
    assert pixels(plain.restore(torch.tensor([[[9.4, 9.6, 254.51]]]) / 255)).tolist() == [[9, 10, 255]]


def test_mean_and_std_replace_imagenets() -> None:
    image = picture()
    raw = standard_preprocess(3, size=32, mean=[0], std=[1]).prepare(image)
    both = standard_preprocess(3, size=32, mean=[0.1, 0.2, 0.3], std=[0.5])
    assert (both.mean, both.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    expected = (raw.numpy() - np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / 0.5
    np.testing.assert_allclose(both.prepare(image).numpy(), expected, atol=1e-6)
    assert standard_preprocess(3, mean=[0.5]).std == IMAGENET_STD
    assert standard_preprocess(1, std=[0.5]).mean == (0.449,)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": 0}, "size 0"),
        ({"size": -3}, "size -3"),
        ({"size": (3, 0)}, r"size \(3, 0\)"),
        ({"size": (3, 3, 3)}, "height and width"),
        ({"size": 2.5}, "size 2.5"),
        ({"mean": [0.1, 0.2]}, "mean 0.1 0.2.*3 channels"),
        ({"std": [1, 1, 1, 1]}, "std.*1 or 3 numbers"),
        ({"std": [0.2, 0, 0.2]}, "std 0.2 0 0.2.*above 0"),
        ({"std": [-1]}, "above 0"),
        ({"mean": []}, "mean"),
        ({"mean": [float("nan")]}, "finite"),
    ],
)
def test_impossible_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        standard_preprocess(3, **options)
    assert "\n" not in str(caught.value)


def test_one_channel_takes_one_number() -> None:
    with pytest.raises(UsageError, match="1 channels, so give 1 number"):
        standard_preprocess(1, mean=[0.1, 0.2, 0.3])


def all_presets() -> dict[str, tuple[Any, str]]:
    """Every different preset among torchvision's models for pictures, with the weights' name."""
    members = itertools.chain.from_iterable(
        torchvision.models.get_model_weights(name) for name in torchvision.models.list_models()
    )
    presets = {}
    for member in members:
        preset = member.transforms()
        if type(preset).__name__ in ("ImageClassification", "SemanticSegmentation", "ObjectDetection"):
            presets[f"{type(preset).__name__} {vars(preset)}"] = (preset, member.name)
    return presets


def test_every_preset_of_torchvision_is_followed_and_undone() -> None:
    image, presets = picture(80, 70), all_presets()
    assert len(presets) > 25
    for preset, name in presets.values():
        ours = preset_preprocess(preset, name, Overrides())
        values = ours.prepare(image)
        torch.testing.assert_close(values, preset(image), rtol=0, atol=0)
        by_numbers = preset_preprocess(preset, name, Overrides(mean=ours.mean or (0.0,), std=ours.std or (1.0,)))
        torch.testing.assert_close(by_numbers.prepare(image), values, rtol=0, atol=0)
        back = torch.from_numpy(pixels(ours.restore(values))).permute(2, 0, 1) / 255
        redone = (back - torch.tensor(ours.mean or (0.0,)).reshape(-1, 1, 1)) / torch.tensor(
            ours.std or (1.0,)
        ).reshape(-1, 1, 1)
        torch.testing.assert_close(redone, values, rtol=0, atol=1e-5)


def test_a_preset_says_what_it_does() -> None:
    preset = _presets.ImageClassification(crop_size=224, resize_size=232)
    ours = preset_preprocess(preset, "IMAGENET1K_V2", Overrides())
    assert ours.description == (
        "IMAGENET1K_V2's own: resize 232, centre crop 224, "
        "normalise by mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    )
    assert (ours.size, ours.mean, ours.std) == ((224, 224), IMAGENET_MEAN, IMAGENET_STD)


def test_size_keeps_a_presets_margin_interpolation_and_normalisation() -> None:
    image = picture()
    make = partial(_presets.ImageClassification, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    bicubic = T.InterpolationMode.BICUBIC
    preset = make(crop_size=384, resize_size=480, interpolation=bicubic)
    ours = preset_preprocess(preset, "W", Overrides(size=(64, 64)))
    oracle = make(crop_size=64, resize_size=80, interpolation=bicubic)
    torch.testing.assert_close(ours.prepare(image), oracle(image), rtol=0, atol=0)
    assert ours.description.startswith("W's, changed: resize 80 (bicubic), centre crop 64")


def test_segmentation_and_detection_keep_the_whole_picture() -> None:
    image = picture()
    segment = preset_preprocess(_presets.SemanticSegmentation(resize_size=100), "S", Overrides())
    assert segment.prepare(image).shape == (3, 100, 159)  # 97 x 61, the shorter side made 100
    assert segment.size == (100, 100)
    detect = preset_preprocess(_presets.ObjectDetection(), "D", Overrides())
    assert detect.prepare(image).shape == (3, 61, 97)
    assert (detect.mean, detect.std, detect.description) == ((), (), "D's own: scale to 0..1")
    np.testing.assert_array_equal(pixels(detect.restore(detect.prepare(image))), pixels(image))
    smaller = preset_preprocess(_presets.ObjectDetection(), "D", Overrides(size=(30, 30), std=(0.5,)))
    assert smaller.prepare(image).shape == (3, 30, 30)
    assert (smaller.mean, smaller.std) == ((0.0,) * 3, (0.5,) * 3)
