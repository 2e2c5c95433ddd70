"""A sheet of composed pictures with their boxes drawn, to look at before training on them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from deepperception.grounding import Object, Sample

# Pixels, then RGB colours.
_TILE, _CAPTION, _GAP = 340, 40, 12
_SHEET, _INK, _WHITE = (250, 250, 248), (40, 40, 40), (255, 255, 255)
_TARGET, _OTHER = (214, 39, 40), (31, 119, 180)


def write_contact_sheet(path: Path, samples: Iterable[Sample], *, columns: int = 4) -> None:
    """Draw the samples in a grid: the target's box in red, the others' in blue, each with its name."""
    tiles = [_tile(sample) for sample in samples]
    rows = -(-len(tiles) // columns)
    width, height = _TILE + _GAP, _TILE + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _SHEET)
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * width + _GAP, place // columns * height + _GAP))
    sheet.save(path, "PNG")


def _tile(sample: Sample) -> Image.Image:
    tile = Image.new("RGB", (_TILE, _TILE + _CAPTION), _SHEET)
    picture = Image.open(io.BytesIO(sample.image)).convert("RGB")
    scale = _TILE / max(picture.size)
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), resample)
    # The target last, so that no other box covers it.
    for thing in sorted(sample.objects, key=lambda thing: thing.entity == sample.entity):
        _draw(picture, thing, _TARGET if thing.entity == sample.entity else _OTHER)
    tile.paste(picture, ((_TILE - picture.width) // 2, (_TILE - picture.height) // 2))
    caption = f"{sample.question_id}  ({'seen' if sample.seen else 'unseen'}, {sample.split})\nfind: {sample.entity}"
    ImageDraw.Draw(tile).multiline_text((2, _TILE + 5), caption, fill=_INK, font=_font(13))
    return tile


def _draw(picture: Image.Image, thing: Object, colour: tuple[int, int, int]) -> None:
    pen = ImageDraw.Draw(picture)
    x1, y1, x2, y2 = thing.box.to_pixels(*picture.size)
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour, width=2)
    _, _, right, bottom = pen.textbbox((0, 0), thing.entity, font=_font(12))
    left, top = min(x1, max(0, picture.width - right - 4)), max(0, min(y1, picture.height - bottom - 4))
    pen.rectangle((left, top, left + right + 4, top + bottom + 3), fill=colour)
    pen.text((left + 2, top + 1), thing.entity, fill=_WHITE, font=_font(12))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
