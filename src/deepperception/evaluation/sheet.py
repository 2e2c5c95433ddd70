"""The predictions and their reasoning on one picture, for where no HTML can be shown."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from deepperception.evaluation.drawing import RIGHT, WRONG, Font
from deepperception.evaluation.gallery import Card

_COLUMNS, _CELL, _GAP, _REASONING_LINES = 4, 400, 28, 9
_PAPER, _INK, _MUTED, _EDGE = "#f6f7f9", "#1f2933", "#52616f", "#dde3ea"
_TITLE_HEIGHT, _LINE_HEIGHT, _PADDING = 24, 20, 14


def prediction_sheet(cards: Sequence[Card]) -> bytes:
    """PNG bytes: cells of a drawn picture, the verdict, and the first lines of the reasoning."""
    picture_side = _CELL - 2 * _PADDING
    cell_height = picture_side + 2 * _TITLE_HEIGHT + _REASONING_LINES * _LINE_HEIGHT + 3 * _PADDING
    columns = min(_COLUMNS, max(len(cards), 1))
    rows = -(-len(cards) // columns)
    sheet = Image.new("RGB", (columns * (_CELL + _GAP) + _GAP, rows * (cell_height + _GAP) + _GAP), _PAPER)
    for index, card in enumerate(cards):
        row, column = divmod(index, columns)
        cell = _cell(card, picture_side, cell_height)
        sheet.paste(cell, (_GAP + column * (_CELL + _GAP), _GAP + row * (cell_height + _GAP)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def wrapped(draw: ImageDraw.ImageDraw, text: str, font: Font, width: int, lines: int) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels; what is left over becomes an ellipsis. Long words are cut."""
    done: list[str] = []
    current = ""
    for word in text.split():
        while draw.textlength(word, font=font) > width:
            word = word[:-2] + "…"
        candidate = f"{current} {word}".strip()
        if draw.textlength(candidate, font=font) <= width:
            current = candidate
            continue
        done.append(current)
        current = word
        if len(done) == lines:
            done[-1] = done[-1][:-1].rstrip() + "…"
            return done
    return [*done, current] if current else done


def _cell(card: Card, picture_side: int, height: int) -> Image.Image:
    cell = Image.new("RGB", (_CELL, height), "white")
    draw = ImageDraw.Draw(cell)
    title, small = ImageFont.load_default(size=17), ImageFont.load_default(size=14)
    colour = RIGHT if card.case.correct else WRONG
    draw.rectangle((0, 0, _CELL - 1, height - 1), outline=_EDGE)
    draw.rectangle((0, 0, _CELL - 1, 4), fill=colour)
    picture = card.picture.copy()
    picture.thumbnail((picture_side, picture_side))
    left = (_CELL - picture.width) // 2
    cell.paste(picture, (left, _PADDING + (picture_side - picture.height) // 2))
    y = picture_side + 2 * _PADDING
    split = "seen" if card.case.seen else "unseen"
    asked = f"{card.case.entity} ({card.case.category}, {split})"
    for line, ink in ((asked, _INK), (card.verdict, colour)):
        for text in wrapped(draw, line, title, picture_side, 1):
            draw.text((_PADDING, y), text, fill=ink, font=title)
        y += _TITLE_HEIGHT
    for text in wrapped(draw, card.reasoning or "(no reasoning)", small, picture_side, _REASONING_LINES):
        draw.text((_PADDING, y), text, fill=_MUTED, font=small)
        y += _LINE_HEIGHT
    return cell
