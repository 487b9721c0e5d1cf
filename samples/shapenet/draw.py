"""Labelled pictures for ShapeNet, drawn from a random generator: a shape, its colour and its texture.

Run as a script it writes the sample pictures in `samples/shapes`.
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array: TypeAlias = NDArray[np.float64]
Colour: TypeAlias = tuple[int, int, int]

OVERSAMPLING = 2
NOISE_SIZE = 64
MIDDLE_GREY = 128
MAX_TILT = math.pi / 6
ANY_HUE = (0.0, 360.0)

# The distances of a polygon's corners from its centre, at equal angles.
OUTLINES: dict[str, tuple[float, ...]] = {
    "circle": (1.0,) * 72,
    "square": (1.0,) * 4,
    "triangle": (1.0,) * 3,
    "star": (1.0, 0.42) * 5,
}

# Which of two colours is at (u, v), measured in periods of the texture.
TEXTURES: dict[str, Callable[[Array, Array], NDArray[np.bool_]]] = {
    "plain": lambda u, v: np.zeros(u.shape, dtype=bool),
    "stripes": lambda u, v: u % 1 < 0.5,
    "checkerboard": lambda u, v: (u % 1 < 0.5) ^ (v % 1 < 0.5),
    "dots": lambda u, v: np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.27,
}


@dataclass(frozen=True)
class Kind:
    """What the pictures of one class have in common; all else about them is random."""

    outlines: tuple[str, ...] = ("circle", "square", "triangle")
    hues: tuple[float, float] = ANY_HUE
    texture: str = "plain"


# The circles differ in colour alone, the other plain shapes in outline, the last three in texture.
KINDS: dict[str, Kind] = {
    "red circle": Kind(outlines=("circle",), hues=(-14.0, 14.0)),
    "green circle": Kind(outlines=("circle",), hues=(95.0, 150.0)),
    "square": Kind(outlines=("square",)),
    "triangle": Kind(outlines=("triangle",)),
    "star": Kind(outlines=("star",)),
    "stripes": Kind(texture="stripes"),
    "checkerboard": Kind(texture="checkerboard"),
    "dots": Kind(texture="dots"),
}

SAMPLE_SIZE = 256
SAMPLES = {"red circle": 2, "star": 5, "stripes": 4, "checkerboard": 1}


def draw(label: int, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """Return an RGB picture, `size` x `size` px, of class number `label` in the order of `KINDS`.

    Generators in the same state give the same picture, and the same scene at another `size`.
    """
    kind = list(KINDS.values())[label]
    canvas = _background(rng, size * OVERSAMPLING)
    for _ in range(rng.integers(3, 8)):
        _scatter(canvas, rng)
    _draw_object(canvas, kind, rng)
    for _ in range(rng.integers(0, 3)):
        _scratch(canvas, rng)
    return _add_noise(canvas.resize((size, size), Image.Resampling.BOX), rng)


def draw_many(count: int, rng: np.random.Generator, size: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return `count` pictures (N, size, size, 3) and their labels (N,), each class equally often, shuffled."""
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(KINDS))
    pictures = [np.asarray(draw(int(label), rng, size)) for label in labels]
    return np.stack(pictures), labels


def _background(rng: np.random.Generator, side: int) -> Image.Image:
    """A gradient between two dull colours in a random direction."""
    first, last = (_colour(rng, ANY_HUE, (0.0, 0.5), (0.2, 0.9)) for _ in range(2))
    angle = rng.uniform(0, 2 * math.pi)
    x, y = _grid(side)
    ramp = 0.5 + (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)
    return _blend(first, last, np.clip(ramp, 0, 1))


def _scatter(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Draw a small shape of any colour: clutter, too small to be the object."""
    outline = OUTLINES[str(rng.choice(list(OUTLINES)))]
    corners = _corners(outline, rng.uniform(0, 1, 2), rng.uniform(0.02, 0.06), rng.uniform(0, 2 * math.pi))
    colour = _colour(rng, ANY_HUE, (0.2, 1.0), (0.2, 1.0))
    ImageDraw.Draw(canvas).polygon(_pixels(corners, canvas.width), fill=colour)


def _scratch(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Draw a thin straight line from one place to another, over whatever is there."""
    ends = _pixels(rng.uniform(0, 1, (2, 2)), canvas.width)
    colour = _colour(rng, ANY_HUE, (0.0, 0.6), (0.2, 1.0))
    ImageDraw.Draw(canvas).line(ends, fill=colour, width=max(1, canvas.width // 64))


def _draw_object(canvas: Image.Image, kind: Kind, rng: np.random.Generator) -> None:
    """Draw the shape the picture is named after, filled with the texture of its kind."""
    radius = rng.uniform(0.26, 0.42)
    centre = rng.uniform(radius * 0.9, 1 - radius * 0.9, 2)
    outline = OUTLINES[str(rng.choice(kind.outlines))]
    corners = _corners(outline, centre, radius, rng.uniform(-MAX_TILT, MAX_TILT))
    mask = Image.new("1", canvas.size)
    ImageDraw.Draw(mask).polygon(_pixels(corners, canvas.width), fill=1)
    canvas.paste(_fill(kind, _colour_at(canvas, centre), rng, canvas.width), mask=mask)


def _fill(kind: Kind, around: Colour, rng: np.random.Generator, side: int) -> Image.Image:
    """A texture in two colours, of which the first stands out from the colour `around` the object."""
    ground = _contrasting(around, rng, kind.hues)
    figure = _contrasting(ground, rng, ANY_HUE)
    angle, period = rng.uniform(0, 2 * math.pi), rng.uniform(0.13, 0.2)
    (x, y), (shift_u, shift_v) = _grid(side), rng.uniform(0, 1, 2)
    u = (x * math.cos(angle) + y * math.sin(angle)) / period + shift_u
    v = (y * math.cos(angle) - x * math.sin(angle)) / period + shift_v
    return _blend(ground, figure, TEXTURES[kind.texture](u, v))


def _contrasting(other: Colour, rng: np.random.Generator, hues: tuple[float, float]) -> Colour:
    """A strong colour at least 90 away from `other` in RGB, or the last of 50 that were too near."""
    for _ in range(50):
        colour = _colour(rng, hues, (0.55, 1.0), (0.5, 1.0))
        if math.dist(colour, other) >= 90:
            break
    return colour


def _colour(
    rng: np.random.Generator,
    hues: tuple[float, float],
    saturations: tuple[float, float],
    values: tuple[float, float],
) -> Colour:
    """An 8-bit RGB colour, uniform in HSV within the ranges; hues in degrees."""
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(*hues) / 360 % 1, rng.uniform(*saturations), rng.uniform(*values)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def _blend(first: Colour, last: Colour, share: NDArray[Any]) -> Image.Image:
    """A picture of `first` where `share` (H, W) is 0 or false, of `last` where it is 1 or true."""
    mask = Image.fromarray((share * 255).astype(np.uint8))
    return Image.composite(Image.new("RGB", mask.size, last), Image.new("RGB", mask.size, first), mask)


def _corners(outline: tuple[float, ...], centre: Array, radius: float, rotation: float) -> Array:
    """The corners (N, 2) of a polygon as fractions of the picture's side, the first at the top if not rotated."""
    angles = rotation + 2 * math.pi * np.arange(len(outline)) / len(outline)
    directions = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    corners: Array = centre + radius * np.array(outline)[:, None] * directions
    return corners


def _colour_at(canvas: Image.Image, point: Array) -> Colour:
    red, green, blue = np.asarray(canvas)[int(point[1] * canvas.height), int(point[0] * canvas.width)].tolist()
    return red, green, blue


def _pixels(points: Array, side: int) -> list[tuple[float, float]]:
    return [(x * side, y * side) for x, y in points.tolist()]


def _grid(side: int) -> tuple[Array, Array]:
    """The x and y of every pixel's centre, (side, side) each, as fractions of the side."""
    centres = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(centres, centres)
    return x, y


def _add_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add Gaussian noise whose grain has the same size in the scene whatever the picture's size."""
    level = rng.uniform(2, 10)
    grain = rng.normal(0, level, (NOISE_SIZE, NOISE_SIZE, 3)) + MIDDLE_GREY
    layer = Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).resize(picture.size, Image.Resampling.BILINEAR)
    total = np.asarray(picture, dtype=np.int16) + np.asarray(layer, dtype=np.int16) - MIDDLE_GREY
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def main() -> None:
    """Write the pictures of `samples/shapes`."""
    folder = Path(__file__).resolve().parent.parent / "shapes"
    for name, seed in SAMPLES.items():
        picture = draw(list(KINDS).index(name), np.random.default_rng(seed), SAMPLE_SIZE)
        picture.save(folder / f"{name.replace(' ', '-')}.png", optimize=True)


if __name__ == "__main__":
    main()
