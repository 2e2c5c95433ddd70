"""Painting several photos on one canvas, and moving their boxes along exactly."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
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
    row = np.tile(np.array(canvas.background, np.uint8), (plan.size[0], 1))
    pixels = np.broadcast_to(row, (plan.size[1], *row.shape)).copy()
    boxes = []
    for photo, slot in zip(photos, plan.slots, strict=True):
        fitted, box = _fitted(photo, slot)
        left, top = int(slot.left), int(slot.top)
        pixels[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        boxes.append(box)
    return Composition(Image.fromarray(pixels), tuple(boxes), layout)


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


def _fitted(photo: Photo, slot: Slot) -> tuple[np.ndarray, PixelBox]:
    """The photo's pixels [height, width, 3] as they fill the slot, and its box on the canvas."""
    import cv2

    size = (int(slot.width), int(slot.height))
    picture, factor = photo.load_reduced(size) if photo.load_reduced else (photo.load(), 1)
    if picture.size != (-(-photo.size[0] // factor), -(-photo.size[1] // factor)):
        raise InputError(
            f"{photo.id}: the photo changed while it was in use; leave photos alone until synthesis is done."
        )
    pixels = _pixels(picture)
    if picture.size != size:
        cv2.setNumThreads(1)  # rows are made in a thread for each core already
        pixels = cv2.resize(pixels, size, interpolation=_filter(max(picture.width / size[0], picture.height / size[1])))
    # A reduced picture's last pixels may reach beyond the photo's edge: what fills the slot is that much larger.
    return pixels[..., :3], _moved(_box_of(photo), (picture.width * factor, picture.height * factor), slot)


def _pixels(picture: Image.Image) -> np.ndarray:
    """An RGB picture's pixels [height, width, 3 or 4], without a copy where Pillow holds them in one piece."""
    import pyarrow as pa

    try:
        flat = pa.array(picture).flatten().to_numpy(zero_copy_only=True)
    except ValueError:  # a large picture is in several pieces
        return np.asarray(picture)
    return flat.reshape(picture.height, picture.width, 4)


def _filter(shrinking: float) -> int:
    """How to resize, by how much smaller a picture becomes. Down to a half, its neighbours are all that a pixel has."""
    import cv2

    return cv2.INTER_CUBIC if shrinking < 1 else cv2.INTER_LINEAR if shrinking <= 2 else cv2.INTER_AREA


def _moved(box: PixelBox, size: tuple[int, int], slot: Slot) -> PixelBox:
    x1, y1, x2, y2 = box
    width, height = size
    # Multiplied first: the photo's own edge then falls on the slot's, to the last bit.
    return (
        slot.left + x1 * slot.width / width,
        slot.top + y1 * slot.height / height,
        slot.left + x2 * slot.width / width,
        slot.top + y2 * slot.height / height,
    )
