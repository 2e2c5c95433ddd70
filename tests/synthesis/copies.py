"""Pictures to plant in others, and the ways in which copies of pictures come about."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from PIL import Image, ImageDraw

Way = Callable[[Image.Image, Sequence[Image.Image], Random], Image.Image]


def drawn_scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Leaves of many sizes on each other, with grain: as many corners as a photo has."""
    rng = Random(seed)
    image = Image.new("RGB", size)
    pen = ImageDraw.Draw(image)
    for _ in range(250):
        x, y, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), 60 * rng.random() ** 3 + 4
        colour = tuple(rng.randrange(256) for _ in range(3))
        draw = rng.choice([pen.ellipse, pen.rectangle])
        draw((x - radius, y - radius * rng.uniform(0.4, 1), x + radius, y + radius * rng.uniform(0.4, 1)), fill=colour)
    grain = np.random.default_rng(seed).normal(0, 8, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def resized(image: Image.Image, scale: float) -> Image.Image:
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float, rng: Random) -> Image.Image:
    """A part of this share of either side, anywhere."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def side_by_side(image: Image.Image, others: Sequence[Image.Image], rng: Random) -> Image.Image:
    """One of four pictures in a row of 240 pixels."""
    row = [image, *rng.sample(list(others), 3)]
    rng.shuffle(row)
    row = [resized(each, 240 / each.height) for each in row]
    canvas = Image.new("RGB", (sum(each.width for each in row), 240))
    left = 0
    for each in row:
        canvas.paste(each, (left, 0))
        left += each.width
    return canvas


WAYS: dict[str, Way] = {
    "the same pixels": lambda image, others, rng: image,
    "recompressed, quality 30": lambda image, others, rng: recompressed(image, 30),
    "half the size": lambda image, others, rng: recompressed(resized(image, 0.5), 75),
    "a third of the size": lambda image, others, rng: recompressed(resized(image, 1 / 3), 75),
    "cropped to 80 %": lambda image, others, rng: recompressed(cropped(image, 0.8, rng), 75),
    "cropped to half of either side": lambda image, others, rng: recompressed(cropped(image, 0.5, rng), 75),
    "cropped to 60 %, at 60 % of the size": lambda image, others, rng: recompressed(
        resized(cropped(image, 0.6, rng), 0.6), 75
    ),
    "one of four in a row": lambda image, others, rng: recompressed(side_by_side(image, others, rng), 85),
}
