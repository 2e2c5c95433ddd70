"""Painting several photos on one canvas, and moving their boxes along exactly."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image

from deepperception.errors import InputError
from deepperception.synthesis.config import CanvasConfig, Layout
from deepperception.synthesis.layouts import Slot, arrange
from deepperception.synthesis.sources import Photo, PixelBox


@dataclass(frozen=True, slots=True)
class Composition:
    """A composed RGB picture, and the box of each photo's entity in its pixels, not rounded, in the photos' order.

    `layout` is a grid where the one that was asked for came out longer than pictures may be.
    """

    image: Image.Image
    boxes: tuple[PixelBox, ...]
    layout: Layout


def compose(photos: Sequence[Photo], layout: Layout, rng: Random, canvas: CanvasConfig) -> Composition:
    """Lay out at least two photos. A slot's photo is stretched to fill it, so its box moves by an exact affine map."""
    sizes = [photo.size for photo in photos]
    plan = arrange(layout, sizes, rng, canvas)
    if canvas.rescale and max(plan.size) > canvas.max_aspect * min(plan.size):
        layout, plan = "grid", arrange("grid", sizes, rng, canvas)
    image = Image.new("RGB", plan.size, canvas.background)
    for photo, slot in zip(photos, plan.slots, strict=True):
        image.paste(_fitted(photo, slot), (int(slot.left), int(slot.top)))
    boxes = tuple(_moved(photo, slot) for photo, slot in zip(photos, plan.slots, strict=True))
    return Composition(image, boxes, layout)


def encode(image: Image.Image, canvas: CanvasConfig) -> bytes:
    """The picture as a file; the same picture gives the same bytes."""
    file = io.BytesIO()
    if canvas.encoding == "png":
        image.save(file, "PNG", compress_level=3)
    else:
        image.save(file, "JPEG", quality=canvas.quality)
    return file.getvalue()


def refuse_unfit(photos: Iterable[Photo], layouts: Mapping[Layout, float], canvas: CanvasConfig) -> None:
    """InputError, without composing anything, where compose() would refuse one of the photos."""
    for photo in photos:
        _box_of(photo)
        for layout, weight in layouts.items():
            if weight > 0:
                arrange(layout, [photo.size], Random(0), canvas)


def _box_of(photo: Photo) -> PixelBox:
    if photo.box is None:
        raise InputError(f"{photo.id}: the photo has no box of '{photo.entity}'; annotate it first.")
    return photo.box


def _fitted(photo: Photo, slot: Slot) -> Image.Image:
    picture = photo.load()
    if picture.size != photo.size:
        raise InputError(
            f"{photo.id}: the photo changed while it was in use; leave photos alone until synthesis is done."
        )
    size = (int(slot.width), int(slot.height))
    if picture.size == size:
        return picture
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _moved(photo: Photo, slot: Slot) -> PixelBox:
    x1, y1, x2, y2 = _box_of(photo)
    width, height = photo.size
    # Multiplied first: the photo's own edge then falls on the slot's, to the last bit.
    return (
        slot.left + x1 * slot.width / width,
        slot.top + y1 * slot.height / height,
        slot.left + x2 * slot.width / width,
        slot.top + y2 * slot.height / height,
    )
