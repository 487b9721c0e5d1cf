"""Figures by what they are of, against a plain search."""

from canned import make_record
from reportgen.site.lookup import Lookup
from reportgen.site.record import FigureEntry

RECORD = make_record()
LOOKUP = Lookup(RECORD)
PLACES = [
    (layer, image)
    for layer in (None, *(one.name for one in RECORD.layers))
    for image in (None, *(one.id for one in RECORD.images))
]


def searched(layer: str | None, image: str | None) -> list[FigureEntry]:
    order = {kind.name: kind.order for kind in RECORD.kinds}
    found = [figure for figure in RECORD.figures if (figure.layer, figure.image) == (layer, image)]
    return sorted(found, key=lambda figure: order.get(figure.kind, 0))


def test_figures_come_in_the_order_of_their_kinds() -> None:
    assert sum(len(LOOKUP.of(*place)) for place in PLACES) == len(RECORD.figures)
    for place in PLACES:
        assert LOOKUP.of(*place) == searched(*place)
        assert list(LOOKUP.kinds(*place)) == [figure.kind for figure in searched(*place)]
        assert LOOKUP.has(*place) == bool(searched(*place))


def test_one_is_found_by_kind_and_view() -> None:
    for figure in RECORD.figures:
        found = LOOKUP.find(figure.layer, figure.image, figure.kind, figure.data.get("view", ""))
        assert found is not None
        assert (found.kind, found.layer, found.image) == (figure.kind, figure.layer, figure.image)
    assert LOOKUP.find(None, None, "channel_grid") is None
    assert LOOKUP.find("no such layer", None, "input") is None
    assert LOOKUP.find(None, RECORD.images[0].id, "input", "no such view") is None
