"""What every kind of figure owes the report, whichever it is."""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from figures.figure_cases import DTYPES, activation, layer, plain, read, typed, vector
from reportgen.drawing.charts import Chart
from reportgen.drawing.png import encode_picture
from reportgen.entities import Activation, Batch
from reportgen.errors import UsageError
from reportgen.figures.base import Figure, FigureKind, FigureOptions, Product, Subject
from reportgen.figures.registry import figure_kinds
from reportgen.numerics.scaling import parse_scale
from reportgen.site.render import templates_directory

FC = layer("fc", index=2, slug="fc", module_type="Linear")
SUBJECT = Subject(layers=(layer(), FC), outputs=("fc",), images=2)
NAMES = [kind.name for kind in figure_kinds(FigureOptions(), SUBJECT)]


def make(name: str, options: FigureOptions | None = None) -> FigureKind:
    return next(kind for kind in figure_kinds(options or FigureOptions(), SUBJECT) if kind.name == name)


def outputs(maps: torch.Tensor) -> list[object]:
    """What models return: scores, scores of positions, detections in both forms, and a container of all sorts."""
    images, boxes = len(maps), maps.flatten(1)[:, :4]
    corners = [torch.nn.functional.pad(row, (0, 4 - len(row)))[None] for row in boxes]
    return [
        maps.mean((2, 3)),
        {"out": maps, "aux": maps.flip(1)},
        [{"boxes": one, "labels": torch.tensor([7]), "scores": one[:, 0]} for one in corners],
        {"logits": maps.flatten(2).mT, "pred_boxes": maps[:, :1].flatten(2).mT.expand(-1, -1, 4)},
        (None, "text", {"states": [maps, torch.zeros(images, dtype=torch.long)]}),
    ]


def products(kind: FigureKind, maps: torch.Tensor) -> Iterator[Product]:
    """Everything a kind makes in a report with one batch, one map node and one vector node."""
    inputs = maps[:, :1].expand(-1, 3, -1, -1)
    yield from products_of(kind, inputs, activation(maps), vector(maps.mean((2, 3))), returns=outputs(maps))


def products_of(
    kind: FigureKind, inputs: torch.Tensor, *events: Activation, returns: Sequence[object] = ()
) -> Iterator[Product]:
    batch = Batch(events[0].images, inputs)
    yield from kind.begin_batch(batch)
    for event in events:
        if kind.wants(event.layer):
            kind.observe(event)
            yield from kind.update(event)
    for output in returns:
        yield from kind.returned(batch, output)
    yield from kind.end_batch()
    yield from kind.compute()


def report(kind: FigureKind, maps: torch.Tensor) -> list[Figure]:
    return [product for product in products(kind, maps) if isinstance(product, Figure)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2, 8, 5, 5), (1, 1, 1, 1), (1, 13, 1, 9), (2, 97, 3, 2)])
def test_every_figure_can_be_shown_and_recorded(name: str, shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for figure in report(make(name), maps):
        assert figure.kind == name
        assert figure.alt.strip()
        assert figure.caption.endswith(".")
        json.dumps(dict(figure.data), allow_nan=False)
        with Image.open(io.BytesIO(figure.files["png"])) as picture:
            assert picture.size == (figure.width, figure.height)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, 1e38, 1e-45])
def test_no_value_breaks_a_figure(name: str, value: float) -> None:
    maps = torch.randn(1, 3, 4, 4)
    maps[0, 0, 0, 0] = value
    maps[0, 1] = value
    for figure in report(make(name), maps):
        json.dumps(dict(figure.data), allow_nan=False)
        assert all(dict(figure.files).values())
        assert "nan" not in figure.caption.lower().replace("nan is", "")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.usefixtures("no_charts")
def test_values_of_any_type_are_shown_as_float64_is(name: str, kind: str) -> None:
    """float64 itself is held against numpy by each kind's own tests."""
    if (name, kind) == ("predictions", "complex64"):
        return  # complex numbers are no scores
    maps, scores, batch = typed(kind, 2, 6, 8, 7), typed(kind, 2, 9), torch.randn(2, 3, 8, 7)
    exact = (torch.from_numpy(plain(maps)), torch.from_numpy(plain(scores)))
    found = products_of(make(name), batch, read(maps), vector(scores))
    expected = products_of(make(name), batch, read(exact[0]), vector(exact[1]))
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        if isinstance(one, Figure) and isinstance(other, Figure):
            assert alike(dict(one.data), dict(other.data))
            assert alike_pictures(one.files["png"], other.files["png"])


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time, and is drawn of float64 numbers whatever they came from."""
    stub = Chart({"png": encode_picture(Image.new("RGB", (10, 5)))}, 10, 5)
    for place in ("predictions.stem_plot", "vector.curve_plot", "layer_cka.labelled_matrix", "health.share_rows"):
        monkeypatch.setattr(f"reportgen.figures.{place}", lambda *_, **__: stub)


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == (pytest.approx(other, rel=1e-4, abs=1e-6) if isinstance(other, float) else other))


def alike_pictures(one: bytes, other: bytes) -> bool:
    """Whether indexed pictures differ by a level at most; charts need only have the same size."""
    first, second = (Image.open(io.BytesIO(png)) for png in (one, other))
    if first.mode != "P" or first.size != second.size:
        return first.size == second.size
    levels = [np.asarray(picture).astype(int) for picture in (first, second)]
    return bool(np.abs(levels[0] - levels[1]).max() <= 1)


@pytest.mark.parametrize("name", NAMES)
def test_figures_do_not_depend_on_the_batch_size(name: str) -> None:
    maps = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    together = [(figure.files, figure.data) for figure in figures_of_node(name, maps)]
    apart = [figure for number in range(3) for figure in figures_of_node(name, maps[number : number + 1])]
    one_by_one = [(figure.files, figure.data) for figure in apart]
    assert one_by_one == together


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_what_is_returned_do_not_depend_on_the_batch_size(name: str) -> None:
    maps = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    together = figures_of_outputs(name, maps)
    apart = [figures_of_outputs(name, maps[number : number + 1]) for number in range(3)]
    for place, output in enumerate(together):
        assert [figure for figures in apart for figure in figures[place]] == output


def figures_of_outputs(name: str, maps: torch.Tensor) -> list[list[object]]:
    """Files and data of the figures a kind makes of each output."""
    images = activation(maps).images
    returned = [make(name).returned(Batch(images, maps), output) for output in outputs(maps)]
    return [[(product.files, product.data) for product in made if isinstance(product, Figure)] for made in returned]


def test_returned_values_are_drawn_in_the_contract() -> None:
    maps = torch.randn(1, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    drawn = {name for name in NAMES for figures in figures_of_outputs(name, maps) if figures}
    assert drawn == {"class_map", "detections"}


def figures_of_node(name: str, maps: torch.Tensor) -> list[Figure]:
    """The figures a kind makes of a map node, one image after the other."""
    kind = make(name)
    if not kind.wants(layer()):
        return []
    list(kind.begin_batch(Batch((), maps)))
    kind.observe(activation(maps))
    return [product for product in kind.update(activation(maps)) if isinstance(product, Figure)]


@pytest.mark.parametrize("name", NAMES)
def test_the_activation_is_left_as_it_was(name: str) -> None:
    maps = torch.randn(1, 8, 5, 5)
    before = maps.clone()
    report(make(name), maps)
    assert torch.equal(maps, before)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "preview"])  # which no page shows
def test_every_kind_has_its_template(name: str) -> None:
    assert (templates_directory() / "figures" / f"{name}.html.jinja").is_file()


def test_kinds_are_fresh_and_in_page_order() -> None:
    first, second = figure_kinds(FigureOptions(), SUBJECT), figure_kinds(FigureOptions(), SUBJECT)
    assert not {id(kind) for kind in first} & {id(kind) for kind in second}
    assert [kind.order for kind in first] == sorted(kind.order for kind in first)


def test_chosen_kinds_only() -> None:
    assert [kind.name for kind in figure_kinds(FigureOptions(), SUBJECT, ["channel_sum"])] == [
        "input",
        "channel_sum",
        "colour_bar",
        "preview",
    ]
    with pytest.raises(UsageError, match=r"no figure kind 'channel_sums'; did you mean channel_sum"):
        figure_kinds(FigureOptions(), SUBJECT, ["channel_sums"])


def test_a_diverging_map_goes_with_a_symmetric_scale() -> None:
    assert FigureOptions().colour_map == "viridis"
    assert FigureOptions(parse_scale("symmetric")).colour_map == "RdBu_r"
    assert FigureOptions(parse_scale("symmetric"), cmap="gray").colour_map == "gray"


def test_captions_name_layer_image_and_settings() -> None:
    for name in ("channel_grid", "channel_sum"):
        (figure,) = make(name).update(activation(torch.randn(1, 8, 5, 5), layer("layer1.0.conv1")))
        assert isinstance(figure, Figure)
        assert "layer1.0.conv1 (Conv2d, 3 to 8 channels, 3 × 3 kernel, stride 1)" in figure.caption
        assert "image0.png" in figure.caption
        assert "layer1.0.conv1" in figure.alt
