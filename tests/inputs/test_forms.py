"""Forms: what a model is called with, and which calls can't be."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from reportgen.errors import InputError
from reportgen.inputs.forms import LIST, PAIR, PICTURE, Form, by_keyword, check_call, clip, middle

PICTURES = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
CLIPS = torch.arange(2 * 3 * 2 * 4 * 5.0).reshape(2, 3, 2, 4, 5)


def test_pictures_and_clips_are_given_as_one_tensor() -> None:
    for form, tensor in ((PICTURE, PICTURES), (clip(2), CLIPS)):
        (given,), keywords = form.pack(tensor)
        assert given is tensor
        assert keywords == {}


def test_a_list_holds_one_picture_each() -> None:
    (given,), keywords = LIST.pack(PICTURES)
    assert isinstance(given, list)
    assert [torch.equal(one, whole) for one, whole in zip(given, PICTURES, strict=True)] == [True, True]
    assert keywords == {}


def test_a_pair_is_the_two_frames() -> None:
    first, second = PAIR.pack(CLIPS)[0]
    assert torch.equal(first, CLIPS[:, :, 0])
    assert torch.equal(second, CLIPS[:, :, 1])


def test_a_keyword_takes_clips_with_the_frames_first() -> None:
    assert by_keyword("pixel_values").pack(PICTURES)[1]["pixel_values"] is PICTURES
    arguments, keywords = by_keyword("videos", 2).pack(CLIPS)
    assert arguments == ()
    for frame in range(2):
        assert torch.equal(keywords["videos"][:, frame], CLIPS[:, :, frame])


def test_lists_are_given_one_by_one_and_all_else_as_asked() -> None:
    assert [form.batch_size(8) for form in (LIST, PICTURE, PAIR, clip(4))] == [1, 8, 8, 8]


@pytest.mark.parametrize(
    ("form", "shape"),
    [(PICTURE, (2, 3, 8, 9)), (LIST, (2, 3, 8, 9)), (PAIR, (2, 3, 2, 8, 9)), (clip(16), (2, 3, 16, 8, 9))],
)
def test_blank_input_has_the_form_of_a_batch(form: Form, shape: tuple[int, ...]) -> None:
    blank = form.blank((8, 9), 3, 2)
    assert blank.shape == shape
    assert not blank.any()


def test_the_middle_frame_is_the_first_of_a_pair() -> None:
    assert [middle(frames) for frames in (1, 2, 3, 4, 16)] == [0, 0, 1, 1, 7]


class Takes(nn.Module):
    """A module whose forward is what a test says."""

    def __init__(self, forward: Callable[..., object]) -> None:
        super().__init__()
        self.__dict__["forward"] = forward


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x,
        lambda x, text=None: x,
        lambda *inputs, **options: inputs,
        lambda x, *, mask=None: x,
        lambda pixel_values, **options: pixel_values,
    ],
)
def test_what_can_be_called_with_a_picture_passes(forward: Callable[..., object]) -> None:
    check_call(Takes(forward), (PICTURES,), {})


@pytest.mark.parametrize(
    ("forward", "named"),
    [
        (lambda x, text: x, "the argument 'text', which"),
        (lambda x, *, mask: x, "the argument 'mask', which"),
        (lambda x, text, mask: x, "the arguments 'text' and 'mask', which"),
    ],
)
def test_a_missing_argument_is_named(forward: Callable[..., object], named: str) -> None:
    with pytest.raises(InputError) as caught:
        check_call(Takes(forward), (PICTURES,), {})
    assert f"model Takes: forward needs {named} a picture can't give; wrap the model" in str(caught.value)


def test_a_forward_without_room_for_a_picture_is_refused() -> None:
    for forward in (lambda: None, lambda *, image=None: image):
        with pytest.raises(InputError, match=r"can't be called with a picture \(too many positional"):
            check_call(Takes(forward), (PICTURES,), {})
    with pytest.raises(InputError, match=r"can't be called with a picture \("):
        check_call(Takes(lambda x: x), (), {"pixel_values": PICTURES})


def test_compiled_code_is_not_judged() -> None:
    check_call(torch.jit.trace(nn.Conv2d(3, 2, 1), PICTURES), (PICTURES,), {})  # type: ignore[no-untyped-call]
