"""The project's own reading of a completion: what a person would take its answer to be.

It differs from the official one in three ways: only the answer counts, where there is one; more ways of writing
four numbers are understood; swapped corners and corners beyond the frame are mended, and the form says so.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from deepperception.errors import InputError
from deepperception.grounding.boxes import FRAME, Box

_CLOSED_ANSWER = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL | re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<answer>", re.IGNORECASE)

_N = r"[-+]?(?:\d{1,9}(?:\.\d{0,17})?|\.\d{1,17})"
# Atomic: no number begins with a space, so that giving one back never helps, and four numbers far apart try it often.
_GAP = r"(?>\s{0,4}[,;\s]\s{0,4})"
_PAIR = re.compile(rf"[(\[]\s{{0,4}}x?({_N}){_GAP}({_N})\s{{0,4}}[)\]]")
_BETWEEN_PAIRS = re.compile(r"[^\d()]{0,40}")
_LIST = re.compile(rf"[(\[{{]\s{{0,4}}x?({_N}){_GAP}({_N}){_GAP}({_N}){_GAP}({_N})\s{{0,4}}[)\]}}]")
_KEYS = re.compile(
    r"[\s,;\"'(){}]{0,8}".join(
        rf"(?:{names})[\"'\s]{{0,4}}[:=][\"'\s]{{0,4}}({_N})"
        for names in ("x1|x_?min|left", "y1|y_?min|top", "x2|x_?max|right", "y2|y_?max|bottom")
    ),
    re.IGNORECASE,
)
_RUN = re.compile(rf"(?<![\w.-]){_N}(?:\s{{0,4}},\s{{0,4}}{_N}){{3,15}}(?![\w.])")


def robust_box(text: str) -> tuple[Box | None, str]:
    """The box that a completion answers with, and the form it was written in; (None, "none") without one.

    Forms: `pairs` (x1,y1),(x2,y2); `list` [x1,y1,x2,y2]; `keys` x1=..., y1=...; `numbers` x1,y1,x2,y2. Followed by
    `fractions` (0-1, written with a point), `swapped` (corners put in order) and `clipped` (cut at the frame) where
    that was needed. Of several boxes the last one counts.
    """
    # The last one first; of those that end together, in the order of the forms.
    for _, form, numbers in sorted(_candidates(answer_part(text)), key=lambda found: -found[0]):
        box, mended = _mended(numbers)
        if box is not None:
            return box, ", ".join([form, *mended])
    return None, "none"


def closed_answer(text: str) -> str | None:
    """What stands in the last complete <answer>...</answer>; None without one."""
    closed = _CLOSED_ANSWER.findall(text)
    return closed[-1] if closed else None


def answer_part(text: str) -> str:
    """Where the answer must be looked for: in <answer>, even one cut off; else after the thinking; else everywhere."""
    if "<" not in text:
        return text
    answer = closed_answer(text)
    if answer is not None:
        return answer
    for opened in deque(_ANSWER_TAG.finditer(text), maxlen=1):
        return text[opened.end() :]
    after_thinking = text.rpartition("</think>")[2]
    return after_thinking if after_thinking.strip() else text


def _candidates(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Every (end, form, four numbers as written)."""
    # From the end, two by two: a bracket too many is likelier to stand in the name before the box than after it.
    brackets = list(_PAIR.finditer(text))
    while len(brackets) >= 2:
        second, first = brackets.pop(), brackets[-1]
        if _BETWEEN_PAIRS.fullmatch(text, first.end(), second.start()):
            brackets.pop()
            yield second.end(), "pairs", [*first.groups(), *second.groups()]
    for found in _LIST.finditer(text):
        yield found.end(), "list", list(found.groups())
    if ":" in text or "=" in text:
        for found in _KEYS.finditer(text):
            yield found.end(), "keys", list(found.groups())
    for found in _RUN.finditer(text):
        # The last four: a name may bring a number of its own, "Boeing 747, 12, 34, 56, 78".
        yield found.end(), "numbers", found[0].split(",")[-4:]


def _mended(written: list[str]) -> tuple[Box | None, list[str]]:
    mended = []
    x1, y1, x2, y2 = map(float, written)
    if max(x1, y1, x2, y2) <= 1 and min(x1, y1, x2, y2) >= 0 and any("." in number for number in written):
        x1, y1, x2, y2 = (corner * FRAME for corner in (x1, y1, x2, y2))
        mended.append("fractions")
    if x1 > x2 or y1 > y2:
        x1, x2 = sorted((x1, x2))
        y1, y2 = sorted((y1, y2))
        mended.append("swapped")
    if min(x1, y1) < 0 or max(x2, y2) > FRAME:
        x1, y1, x2, y2 = (min(max(corner, 0.0), FRAME) for corner in (x1, y1, x2, y2))
        mended.append("clipped")
    try:
        return Box(x1, y1, x2, y2), mended
    except InputError:  # without width or height there is no box to speak of
        return None, mended
