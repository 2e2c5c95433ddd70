"""Draws one creature on a small picture and knows its exact box."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

from deepperception.bestiary.world import COLOURS, Attributes

PICTURE_SIDE = 56
_OVERSAMPLING = 2
_MARGIN = 2

Point = tuple[float, float]
Shape = tuple[str, tuple[float, ...]]
PixelBox = tuple[float, float, float, float]

# Body plans in a unit square, origin top left: ellipses by their bounding box, polygons by their corners.
# The upper fifth is left to the horns, which stand at the anchor.
BODY_PLANS: dict[str, tuple[Shape, ...]] = {
    "blob": (("ellipse", (0.08, 0.2, 0.92, 0.92)), ("ellipse", (0.1, 0.8, 0.4, 1)), ("ellipse", (0.6, 0.8, 0.9, 1))),
    "worm": (
        ("ellipse", (0, 0.55, 0.4, 0.9)), ("ellipse", (0.22, 0.62, 0.62, 0.97)), ("ellipse", (0.45, 0.5, 0.8, 0.9)),
        ("ellipse", (0.6, 0.2, 1, 0.68)),
    ),
    "bird": (
        ("ellipse", (0.2, 0.36, 0.85, 0.88)), ("ellipse", (0.42, 0.18, 0.8, 0.52)),
        ("polygon", (0.74, 0.28, 1, 0.38, 0.74, 0.44)), ("polygon", (0.3, 0.5, 0, 0.4, 0.08, 0.72, 0.35, 0.75)),
        ("polygon", (0.42, 0.85, 0.36, 1, 0.5, 1, 0.52, 0.85)), ("polygon", (0.6, 0.85, 0.6, 1, 0.74, 1, 0.68, 0.85)),
    ),
    "fish": (
        ("ellipse", (0.24, 0.2, 1, 0.86)), ("polygon", (0.34, 0.52, 0, 0.24, 0, 0.82)),
        ("polygon", (0.5, 0.8, 0.62, 1, 0.72, 0.8)),
    ),
    "snail": (
        ("ellipse", (0.02, 0.24, 0.72, 0.92)), ("polygon", (0, 1, 0.08, 0.84, 0.95, 0.84, 1, 1)),
        ("ellipse", (0.68, 0.2, 1, 0.56)), ("polygon", (0.74, 0.45, 0.94, 0.45, 0.98, 0.98, 0.7, 0.98)),
    ),
    "hound": (
        ("polygon", (0.05, 0.45, 0.75, 0.45, 0.75, 0.75, 0.05, 0.75)), ("ellipse", (0.58, 0.18, 1, 0.58)),
        ("polygon", (0.07, 0.7, 0.07, 1, 0.22, 1, 0.22, 0.7)), ("polygon", (0.55, 0.7, 0.55, 1, 0.7, 1, 0.7, 0.7)),
        ("polygon", (0.1, 0.5, 0, 0.25, 0.08, 0.22, 0.2, 0.48)),
    ),
    "star": (
        ("polygon", (0.5, 0.14, 0.64, 0.44, 1, 0.46, 0.73, 0.66, 0.86, 1, 0.5, 0.82, 0.14, 1, 0.27, 0.66, 0, 0.46,
                     0.36, 0.44)),
        ("ellipse", (0.26, 0.36, 0.74, 0.84)),
    ),
    "beetle": (
        ("ellipse", (0.2, 0.32, 0.8, 1)), ("ellipse", (0.32, 0.18, 0.68, 0.48)),
        ("polygon", (0.3, 0.45, 0, 0.34, 0, 0.42, 0.3, 0.55)), ("polygon", (0.7, 0.45, 1, 0.34, 1, 0.42, 0.7, 0.55)),
        ("polygon", (0.25, 0.7, 0, 0.88, 0, 0.96, 0.3, 0.8)), ("polygon", (0.75, 0.7, 1, 0.88, 1, 0.96, 0.7, 0.8)),
    ),
    "jelly": (
        ("ellipse", (0.05, 0.18, 0.95, 0.78)), ("polygon", (0.14, 0.6, 0.1, 1, 0.24, 1, 0.28, 0.6)),
        ("polygon", (0.42, 0.6, 0.42, 1, 0.58, 1, 0.58, 0.6)), ("polygon", (0.72, 0.6, 0.76, 1, 0.9, 1, 0.86, 0.6)),
    ),
    "turtle": (
        ("ellipse", (0, 0.34, 0.78, 1)), ("ellipse", (0.66, 0.2, 1, 0.6)), ("ellipse", (0.04, 0.8, 0.26, 1)),
        ("ellipse", (0.52, 0.8, 0.76, 1)),
    ),
}  # fmt: skip
_HORN_ANCHORS: dict[str, Point] = {
    "blob": (0.5, 0.27), "worm": (0.8, 0.27), "bird": (0.6, 0.25), "fish": (0.66, 0.28), "snail": (0.84, 0.27),
    "hound": (0.79, 0.26), "star": (0.5, 0.3), "beetle": (0.5, 0.25), "jelly": (0.5, 0.25), "turtle": (0.83, 0.27),
}  # fmt: skip
_HORN_SPREAD, _HORN_WIDTH, _HORN_HEIGHT = 0.15, 0.13, 0.27
_INK = (35, 30, 30)


@dataclass(frozen=True, slots=True)
class _Figure:
    """Where a creature stands, as masks on an oversampled square canvas."""

    body: Image.Image
    horns: Image.Image
    height: float

    @property
    def box(self) -> PixelBox:
        """Around every drawn pixel, in pixels of the finished picture."""
        x1, y1, x2, y2 = ImageChops.lighter(self.body, self.horns).getbbox() or (0, 0, *self.body.size)
        return x1 / _OVERSAMPLING, y1 / _OVERSAMPLING, x2 / _OVERSAMPLING, y2 / _OVERSAMPLING


def draw_creature(
    family: str, looks: Attributes, rng: random.Random, *, side: int = PICTURE_SIDE
) -> tuple[Image.Image, PixelBox]:
    """One creature of random size and place on a square picture of `side` pixels.

    Returns the picture (RGB) and the creature's exact box (x1, y1, x2, y2) in pixels.
    """
    figure = _pose(family, looks, rng, side)
    canvas = side * _OVERSAMPLING
    shade = rng.randint(150, 205)
    ground = tuple(min(255, shade + rng.randint(-12, 12)) for _ in range(3))
    picture = Image.new("RGB", (canvas, canvas), ground)
    picture.paste(_jitter(COLOURS[looks.colour], rng), mask=figure.body)
    picture.paste(_INK, mask=ImageChops.multiply(figure.body, _pattern(looks.skin, canvas, figure.height, rng)))
    picture.paste((252, 252, 252) if looks.horns == "white-horned" else (5, 5, 5), mask=figure.horns)
    return picture.resize((side, side), Image.Resampling.BOX), figure.box


def creature_box(family: str, looks: Attributes, rng: random.Random, *, side: int = PICTURE_SIDE) -> PixelBox:
    """The box that draw_creature gives for a generator in the same state, without drawing the picture."""
    return _pose(family, looks, rng, side).box


def _pose(family: str, looks: Attributes, rng: random.Random, side: int) -> _Figure:
    canvas = side * _OVERSAMPLING
    margin = _MARGIN * _OVERSAMPLING
    height = rng.uniform(0.55, 0.86) * canvas
    width = min(height * rng.uniform(0.9, 1.15), canvas - 2 * margin)
    left = rng.uniform(margin, canvas - margin - width)
    top = rng.uniform(margin, canvas - margin - height)
    mirrored = rng.random() < 0.5

    def mask(shapes: Iterable[Shape]) -> Image.Image:
        image = Image.new("L", (canvas, canvas))
        pen = ImageDraw.Draw(image)
        for kind, numbers in shapes:
            corners = [
                (left + (1 - x if mirrored else x) * width, top + y * height)
                for x, y in zip(numbers[::2], numbers[1::2], strict=True)
            ]
            _fill(pen, kind, corners)
        return image

    horns = () if looks.horns == "hornless" else _horns(*_HORN_ANCHORS[family])
    return _Figure(mask(BODY_PLANS[family]), mask(horns), height)


def _horns(x: float, y: float) -> list[Shape]:
    """Two fat horns that stand at an anchor and lean apart."""
    feet_and_tips = ((x + side * _HORN_SPREAD / 2, x + side * _HORN_SPREAD * 1.25) for side in (-1, 1))
    half = _HORN_WIDTH / 2
    return [("polygon", (foot - half, y, tip, y - _HORN_HEIGHT, foot + half, y)) for foot, tip in feet_and_tips]


def _fill(pen: ImageDraw.ImageDraw, kind: str, corners: list[Point]) -> None:
    if kind == "polygon":
        pen.polygon(corners, fill=255)
        return
    (xa, ya), (xb, yb) = corners
    pen.ellipse((min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)), fill=255)


def _jitter(colour: tuple[int, int, int], rng: random.Random) -> tuple[int, ...]:
    return tuple(max(0, min(255, channel + rng.randint(-15, 15))) for channel in colour)


def _pattern(skin: str, canvas: int, height: float, rng: random.Random) -> Image.Image:
    """White where the ink of the skin goes, over the whole canvas."""
    pattern = Image.new("L", (canvas, canvas))
    pen = ImageDraw.Draw(pattern)
    if skin == "striped":
        period = height / 4.2
        x = -rng.random() * period
        while x < canvas:
            pen.rectangle((x, 0, x + period * 0.42, canvas), fill=255)
            x += period
    elif skin == "spotted":
        period, radius = height / 3.6, height / 12
        shift_x, shift_y = rng.random() * period, rng.random() * period
        for row in range(-1, int(canvas / period) + 2):
            for column in range(-1, int(canvas / period) + 2):
                x = (column + (row % 2) / 2) * period + shift_x
                y = row * period * 0.8 + shift_y
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return pattern
