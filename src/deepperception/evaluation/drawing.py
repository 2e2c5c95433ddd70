"""Boxes drawn on a picture, large enough to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

PixelBox = tuple[float, float, float, float]

TARGET = "#00796b"
RIGHT = "#1d4ed8"
WRONG = "#d9480f"

_HALO = "#ffffff"
_SIDE = 512


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Mark(NamedTuple):
    """One box to draw: corners in pixels of the picture, a label (may be empty), a colour, and its line."""

    box: PixelBox
    label: str
    colour: str
    dashed: bool = False


def draw_boxes(image: Image.Image, marks: Sequence[Mark], *, side: int = _SIDE) -> Image.Image:
    """A copy of `image` with the marks on it; a picture smaller than `side` pixels is enlarged by a whole factor first.

    Enlarging comes first, so that lines and letters stay fine on a picture of 112 pixels. A box may leave the picture
    (a model can say anything): what lies inside is drawn.
    """
    factor = max(1, side // max(image.size))
    canvas = image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas)
    width = max(2, max(canvas.size) // 130)
    font = ImageFont.load_default(size=max(11, max(canvas.size) // 28))
    boxes = [_ordered(mark.box, factor) for mark in marks]
    for box in boxes:
        _outline(draw, box, _HALO, width + 2)
    # Dashed lines last: where two boxes coincide, both colours show.
    for mark, box in sorted(zip(marks, boxes, strict=True), key=lambda pair: pair[0].dashed):
        _outline(draw, box, mark.colour, width, dash=4 * width if mark.dashed else 0)
    taken: list[PixelBox] = []
    for mark, box in zip(marks, boxes, strict=True):
        if mark.label:
            taken.append(_label(draw, box, mark, font, canvas.size, taken))
    return canvas


def _ordered(box: PixelBox, factor: int) -> PixelBox:
    """The box on the enlarged picture, a reversed one turned round: Pillow draws no other."""
    x1, y1, x2, y2 = (value * factor for value in box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _outline(draw: ImageDraw.ImageDraw, box: PixelBox, colour: str, width: int, *, dash: int = 0) -> None:
    """A line whose middle is the box's edge, whole or in dashes."""
    x1, y1, x2, y2 = box
    half = width / 2
    for (ax, ay), (bx, by) in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x1, y2), (x2, y2)), ((x1, y1), (x1, y2))):
        length = max(bx - ax, by - ay) + width
        for start in range(0, int(length), 2 * dash or int(length) + 1):
            end = min(start + dash, length) if dash else length
            along_x, along_y = (1, 0) if by == ay else (0, 1)
            corner = (ax - half + along_x * start, ay - half + along_y * start)
            far = (ax - half + along_x * end + along_y * width, ay - half + along_y * end + along_x * width)
            draw.rectangle((*corner, *far), fill=colour)


def _label(
    draw: ImageDraw.ImageDraw,
    box: PixelBox,
    mark: Mark,
    font: Font,
    size: tuple[int, int],
    taken: Sequence[PixelBox],
) -> PixelBox:
    """Writes the label at the first free place: above the box, below, inside at the top or bottom, else anywhere."""
    text = _fitting(draw, mark.label, font, size[0] - 12)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 10, bottom - top + 8
    x = min(max(box[0], 0), size[0] - width)
    near = (box[1] - height, box[3], box[1], box[3] - height)
    places = [(x, y, x + width, y + height) for y in (*near, *range(0, size[1], int(height) + 1))]
    free = (place for place in places if _inside(place, size) and not any(_overlap(place, other) for other in taken))
    place = next(free, (x, 0, x + width, height))
    draw.rectangle(place, fill=mark.colour)
    draw.text((place[0] + 5 - left, place[1] + 4 - top), text, fill=_HALO, font=font)
    return place


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> str:
    text = " ".join(text.split())
    while len(text) > 1 and draw.textlength(text, font=font) > width:
        text = text[:-2].rstrip() + "…"
    return text


def _inside(place: PixelBox, size: tuple[int, int]) -> bool:
    return place[0] >= 0 and place[1] >= 0 and place[2] <= size[0] and place[3] <= size[1]


def _overlap(a: PixelBox, b: PixelBox) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
