"""Hugging Face's models, from directories that small random ones are saved to."""

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from reportgen.entities import Batch
from reportgen.errors import InputError, UsageError
from reportgen.inputs.batches import batches
from reportgen.inputs.images import find_images
from reportgen.inputs.models import Model, load_model

transformers: Any = importlib.import_module("transformers")

SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
TEXT = {key: value for key, value in SMALL.items() if "_size" in key or "num" in key} | {"vocab_size": 50}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@pytest.fixture
def picture() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))


def vit(**config: Any) -> nn.Module:
    made: nn.Module = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL, **config))
    return made.eval()


def save(directory: Path, *parts: Any) -> Path:
    for part in parts:
        part.save_pretrained(directory)
    return directory


def load(directory: Path, **options: Any) -> Model:
    return load_model(f"hf:{directory}", **options)


def batch_of(model: Model, picture: PIL.Image.Image) -> Batch:
    sources = find_images([picture])
    (batch,) = batches(sources, model.preprocess, 1, torch.device("cpu"), torch.float32, form=model.form)
    return batch


def output_of(model: Model, batch: Batch) -> Any:
    with torch.no_grad():
        return model.module(*batch.arguments, **batch.kwargs)


def test_a_directory_is_loaded_with_processor_and_classes(tmp_path: Path, picture: PIL.Image.Image) -> None:
    original = vit(id2label={0: "cat", 1: "dog"}, label2id={"cat": 0, "dog": 1})
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3])
    directory = save(tmp_path / "pets", original, processor)
    model = load(directory)
    assert type(model.module) is transformers.ViTForImageClassification
    assert not model.module.training
    assert (model.source, model.spec, model.weights) == ("hf", "hf:pets", "pets")
    assert model.weights_sha256 == hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    assert model.categories == ("cat", "dog")
    batch = batch_of(model, picture)
    assert torch.equal(batch.tensor, processor(images=picture, return_tensors="pt")["pixel_values"])
    assert batch.arguments == ()
    expected = original(pixel_values=batch.tensor).logits
    assert torch.equal(output_of(model, batch).logits, expected)
    assert model.preprocess.mean == (0.1, 0.2, 0.3)
    assert model.preprocess.description.startswith(
        "ViTImageProcessor's own: 32 from a square, normalise by mean 0.1"
    )


def test_what_the_network_saw_is_shown(tmp_path: Path, picture: PIL.Image.Image) -> None:
    """Resized by another hand, and so compared loosely."""
    model = load(save(tmp_path / "m", vit(), transformers.ViTImageProcessor(size={"height": 32, "width": 32})))
    seen = np.asarray(batch_of(model, picture).images[0].seen, dtype=float)
    expected = np.asarray(picture.resize((32, 32), PIL.Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(seen - expected).max() <= 1.5


def test_names_relative_to_the_directory(tmp_path: Path) -> None:
    save(tmp_path / "m", vit())
    assert load_model("hf:m", directory=tmp_path).spec == "hf:m"


def test_without_a_processor_the_size_is_the_configurations(tmp_path: Path) -> None:
    model = load(save(tmp_path / "m", vit()))
    assert model.preprocess.size == (32, 32)
    assert model.preprocess.description.startswith("standard: resize 37, centre crop 32")
    assert model.categories == ()  # LABEL_0, LABEL_1


def test_the_users_size_mean_and_std(tmp_path: Path, picture: PIL.Image.Image) -> None:
    directory = save(tmp_path / "m", vit(), transformers.ViTImageProcessor(size={"height": 32, "width": 32}))
    own = load(directory).preprocess.prepare(picture)
    changed = load(directory, mean=[0.25], std=[0.125]).preprocess
    torch.testing.assert_close(changed.prepare(picture), (own * 0.5 + 0.5 - 0.25) / 0.125)
    assert changed.description.startswith("ViTImageProcessor's, changed: 32 from a square")
    sized = load(directory, size=(64, 48)).preprocess
    assert sized.prepare(picture).shape == (3, 64, 48)
    assert sized.mean == (0.5, 0.5, 0.5)


def test_random_values_are_those_of_the_seed(tmp_path: Path) -> None:
    directory, state = save(tmp_path / "m", vit()), torch.random.get_rng_state()
    first, second = (load(directory, weights="none") for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.random_weights
    pairs = zip(first.module.parameters(), second.module.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    trained = zip(first.module.parameters(), load(directory).module.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in trained)


def test_arguments_change_the_configuration(tmp_path: Path) -> None:
    directory = save(tmp_path / "m", vit())
    model = load(directory, weights="none", arguments={"num_hidden_layers": 3, "attn_implementation": "eager"})
    assert len(model.module.get_submodule("vit.layers")) == 3  # type: ignore[arg-type]
    assert attention_of(model) == "eager"
    assert attention_of(load(directory)) != "eager"


def attention_of(model: Model) -> Any:
    config: Any = model.module.config
    return config._attn_implementation


@pytest.mark.parametrize("argument", ["bogus", "revision", "cache_dir", "trust_remote_code", "state_dict"])
def test_what_the_configuration_has_not_is_refused(tmp_path: Path, argument: str) -> None:
    directory = save(tmp_path / "m", vit())
    with pytest.raises(UsageError, match=f"^model-arg {argument}: "):
        load(directory, arguments={argument: 1})


def test_a_file_of_weights_by_old_names_or_new(tmp_path: Path) -> None:
    original = vit()
    directory = save(tmp_path / "m", original)
    torch.save(original.state_dict(), tmp_path / "own.pt")
    for file in (directory / "model.safetensors", tmp_path / "own.pt"):
        model = load(directory, weights=file)
        own = original.state_dict()
        assert all(torch.equal(value, own[key]) for key, value in model.module.state_dict().items())
        assert (model.weights, model.random_weights) == (file.name, False)


def test_a_file_that_does_not_fit_is_refused_with_every_key(tmp_path: Path) -> None:
    state = vit().state_dict()
    state["classifier.weight"] = torch.zeros(9, 16)
    state["extra"] = torch.zeros(1)
    del state["classifier.bias"]
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(InputError) as caught:
        load(save(tmp_path / "m", vit()), weights=tmp_path / "bad.pt")
    told = str(caught.value)
    assert "1 missing: classifier.bias; 1 unexpected: extra; 1 misshapen: classifier.weight ([9, 16] in the" in told


def test_weights_without_a_head_are_said_to_be_random_there(tmp_path: Path) -> None:
    base = transformers.ViTModel(transformers.ViTConfig(**SMALL), add_pooling_layer=False)
    directory = save(tmp_path / "m", base)
    config = directory / "config.json"
    config.write_text(config.read_text().replace('"ViTModel"', '"ViTForImageClassification"'))
    model = load(directory)
    assert model.weights == "m, random where they have none: classifier.bias, classifier.weight"


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_of_two_towers_the_one_that_sees(kind: str, tmp_path: Path, picture: PIL.Image.Image) -> None:
    config = getattr(transformers, f"{kind}Config")(vision_config=SMALL, text_config=TEXT)
    original = getattr(transformers, f"{kind}Model")(config).eval()
    model = load(save(tmp_path / "m", original))
    assert type(model.module).__name__ == f"{kind}VisionModel"
    assert model.weights == f"m; the vision tower of {kind}Model"
    assert model.preprocess.size == (32, 32)
    batch = batch_of(model, picture)
    with torch.no_grad():
        expected = original.vision_model(pixel_values=batch.tensor).pooler_output
    torch.testing.assert_close(output_of(model, batch).pooler_output, expected)
    assert load(tmp_path / "m", weights="none").weights.endswith(f"; the vision tower of {kind}Model")


VIDEO: dict[str, Callable[[], nn.Module]] = {
    "videomae": lambda: transformers.VideoMAEForVideoClassification(
        transformers.VideoMAEConfig(**SMALL, num_frames=4)
    ),
    "timesformer": lambda: transformers.TimesformerForVideoClassification(
        transformers.TimesformerConfig(**SMALL, num_frames=4)
    ),
}


@pytest.mark.parametrize("kind", VIDEO)
def test_models_of_video_get_clips_with_frames_first(kind: str, tmp_path: Path, picture: PIL.Image.Image) -> None:
    original = VIDEO[kind]().eval()
    model = load(save(tmp_path / "m", original))
    assert model.form.frames == 4
    batch = batch_of(model, picture)
    assert batch.tensor.shape == (1, 3, 4, 32, 32)
    clip = model.preprocess.prepare(picture).expand(1, 4, 3, 32, 32)
    assert torch.equal(batch.kwargs["pixel_values"], clip)
    assert torch.equal(output_of(model, batch).logits, original(pixel_values=clip).logits)
    assert batch.images[0].note == "repeated as 4 frames, since the model takes clips"


def test_detection_has_names_for_all_numbers(tmp_path: Path) -> None:
    config = transformers.YolosConfig(
        **{**SMALL, "image_size": [32, 48]}, num_detection_tokens=3, id2label={0: "cat", 2: "dog"},
        label2id={"cat": 0, "dog": 2},
    )  # fmt: skip
    model = load(save(tmp_path / "m", transformers.YolosForObjectDetection(config)))
    assert model.categories == ("cat", "1", "dog")
    assert model.preprocess.size == (32, 48)


def test_a_module_of_transformers_passed_in_is_called_by_keyword(picture: PIL.Image.Image) -> None:
    module = vit()
    model = load_model(module)
    assert model.module is module
    assert model.preprocess.size == (32, 32)
    batch = batch_of(model, picture)
    assert set(batch.kwargs) == {"pixel_values"}
    assert output_of(model, batch).logits.shape == (1, 2)


def test_models_of_text_are_refused(tmp_path: Path) -> None:
    bert = transformers.BertModel(transformers.BertConfig(**TEXT))
    with pytest.raises(InputError, match=r"^model hf:m: BertModel takes input_ids, not pictures alone; wrap it"):
        load(save(tmp_path / "m", bert))


def test_a_model_that_needs_more_than_pictures_is_refused(tmp_path: Path) -> None:
    module = transformers.VideoMAEForPreTraining(transformers.VideoMAEConfig(**SMALL, num_frames=4))
    with pytest.raises(
        InputError, match="forward needs the argument 'bool_masked_pos', which a picture can't give"
    ):
        load(save(tmp_path / "m", module))


def test_a_processor_of_patches_is_refused(tmp_path: Path) -> None:
    vision = {key: value for key, value in SMALL.items() if key != "image_size"}
    config = transformers.Siglip2Config(vision_config=vision, text_config=TEXT)
    directory = save(tmp_path / "m", transformers.Siglip2Model(config), transformers.Siglip2ImageProcessor())
    with pytest.raises(InputError, match=r"Siglip2ImageProcessor can't be used for pictures alone \(it gives a"):
        load(directory)


def test_a_directory_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"model hf:{tmp_path.name}: its configuration could not be had (")
    assert "\n" not in told


@pytest.mark.parametrize("weights", ["default", "none"])
def test_a_refused_download_is_one_line(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError) as caught:
        load_model("hf:nobody/has-this", weights=weights)
    told = str(caught.value)
    assert told.startswith("model hf:nobody/has-this: its configuration could not be had (")
    assert told.endswith("check the name, or give a directory that it was saved in")
    assert "\n" not in told


def test_weights_that_are_missing_name_both_ways_out(tmp_path: Path) -> None:
    directory = save(tmp_path / "m", vit())
    (directory / "model.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"^model hf:m: its weights could not be had .*--weights none.*--weights FILE"
    ):
        load(directory)
    assert load(directory, weights="none").random_weights


def test_code_in_a_repository_never_runs(tmp_path: Path) -> None:
    directory = save(tmp_path / "m", vit())
    (directory / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    config = directory / "config.json"
    text = config.read_text().replace('"model_type": "vit"', '"model_type": "evil"')
    config.write_text(text.replace("{", '{"auto_map": {"AutoConfig": "evil.Config"},', 1))
    with pytest.raises(InputError, match="its configuration could not be had"):
        load(directory)
    assert not (tmp_path / "ran").exists()


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"^model hf:x/y: needs the package transformers; pip install 'reportgen\[hf\]'$"
    ):
        load_model("hf:x/y")
