"""What the sources of models share: missing packages, refused arguments, and silence."""

import logging
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from reportgen.errors import InputError, UsageError
from reportgen.inputs.builders import building, check_reserved, import_extra, published_hash, quietly
from reportgen.inputs.weights import sha256_of


def test_a_missing_extra_is_one_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError) as caught:
        import_extra("timm", "timm", "timm:resnet18")
    assert str(caught.value) == "model timm:resnet18: needs the package timm; pip install 'reportgen[timm]'"
    assert import_extra("json", "x", "x").dumps(1) == "1"


def test_a_refused_argument_is_named() -> None:
    with (
        pytest.raises(UsageError, match=r"^model-arg depth: net takes no such argument; "),
        building("net", {"depth": 4}),
    ):
        raise TypeError("Net.__init__() got an unexpected keyword argument 'depth'")
    with pytest.raises(UsageError, match="model-arg depth"), building("net", {"depth": 4}):
        raise TypeError("Net.__init__() got multiple values for argument 'depth'")


def test_other_errors_name_the_arguments_that_were_given() -> None:
    told = r"^model net: could not be built with depth=4, kind=a \(ValueError: odd\)$"
    with pytest.raises(InputError, match=told), building("net", {"depth": 4, "kind": "a"}):
        raise ValueError("odd")
    told = r"^model net: could not be built \(TypeError: .*'width'\)$"
    with pytest.raises(InputError, match=told), building("net", {}):
        raise TypeError("got an unexpected keyword argument 'width'")


def test_weights_that_cannot_be_had_come_with_both_ways_out() -> None:
    with pytest.raises(InputError) as caught, building("net", {}, "V1"):
        raise OSError("no route")
    assert str(caught.value) == (
        "model net: its weights V1 could not be had (OSError: no route); give --weights none for random values, "
        "or --weights FILE for a checkpoint you have"
    )


@pytest.mark.parametrize("argument", ["pretrained", "weights", "checkpoint_path"])
def test_where_weights_come_from_is_no_argument(argument: str) -> None:
    check_reserved({"depth": 4})
    with pytest.raises(UsageError, match=f"^model-arg {argument}: "):
        check_reserved({"depth": 4, argument: "x"})


def test_loggers_are_silent_inside_and_as_before_after(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("huggingface_hub.file_download")
    before = logging.getLogger("huggingface_hub").level
    with quietly():
        logger.warning("Retrying")
    assert logging.getLogger("huggingface_hub").level == before
    assert caplog.text == ""
    logging.getLogger("reportgen").warning("seen")
    assert "seen" in caplog.text


def test_the_hash_is_of_the_one_file(tmp_path: Path) -> None:
    assert published_hash(str(tmp_path)) is None
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert published_hash(str(tmp_path)) == sha256_of(tmp_path / "model.safetensors")
