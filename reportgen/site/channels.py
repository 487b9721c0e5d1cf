"""The numbers of a layer's channels as a script: ranges on each image, and statistics over all images.

They would not fit into the layer's page: 2,048 channels on 200 images have 800,000 ends. A page opened from disk
may not fetch a file, so they come as a classic script, which the page adds when a reader asks for a channel.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reportgen.site.pages import LayerPage
from reportgen.site.record import FigureEntry

GRID, HEALTH = "channel_grid", "health"
_COLUMNS = ("min", "max", "mean", "std", "input_correlation")
_AS_THEY_ARE = ("share_of_zeros", "dead", "constant", "saturated", "copy", "duplicate_of", "nan_count", "inf_count")

Numbers = Sequence[float | None]


def channels_script(page: LayerPage) -> str:
    """Return the script with the numbers of the page's channels; empty where it has no channel grid.

    Numbers have the four digits that pages show. By image: `low` and `high` of the values of each channel, null
    where none is finite, the `constant` channels, and as `span` the ends of the colours where all channels share
    them.
    """
    grids = {
        panel.image.id: shown.figure.data
        for panel in page.panels
        for shown in panel.figures
        if is_grid(shown.figure)
    }
    if not grids:
        return ""
    shown = max(data["channels_shown"] for data in grids.values())
    health = next((each.figure.data for each in page.summary if each.figure.kind == HEALTH), {})
    images = ",\n".join(f"{json.dumps(image)}:{_image(data)}" for image, data in grids.items())
    statistics = _statistics(health, shown) if health.get("per_channel") else "null"
    numbers = f'{{"images":{{\n{images}}},\n"statistics":{statistics}}}'
    return f"reportgen.channels.set({_json(page.path)}, {numbers});\n"


def is_grid(figure: FigureEntry) -> bool:
    """Whether the figure is a mosaic of channels that says where they lie."""
    return figure.kind == GRID and "columns" in figure.data


def _image(data: Mapping[str, Any]) -> str:
    span = "null"
    low, high = data["low"], data["high"]
    if data["scale"] != "channel":
        span = _array([*low[:1], *high[:1]])
        nothing: list[None] = []  # versions before did not record the range of values beside that of colours
        low, high = data.get("value_low", nothing), data.get("value_high", nothing)
    return f'{{"low":{_array(low)},"high":{_array(high)},"span":{span},"constant":{_json(data["constant"])}}}'


def _statistics(health: Mapping[str, Any], shown: int) -> str:
    columns = health["per_channel"]
    parts = [f'"{name}":{_array(columns[name][:shown])}' for name in _COLUMNS if columns[name] is not None]
    # A share keeps its six digits: in four, nearly all would be all.
    parts += [f'"{name}":{_json(columns[name])}' for name in _AS_THEY_ARE if columns[name] is not None]
    facts = {"images": health["images"], "undefined": health["undefined"]}
    return f"{{{','.join([*parts, _json(facts)[1:-1]])}}}"


def _array(values: Iterable[float | None]) -> str:
    # By hand: the json module takes three times as long, and writes all digits.
    return f"[{','.join(['null' if value is None else f'{value + 0.0:.4g}' for value in values])}]"


def _json(value: Any) -> str:
    # In a packed report the script stands inside the page, where `</script>` would end it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
