"""The paper's own reading of a completion, quirks included, so that scores mean what its tables mean.

Eight forms are tried in order on the whole text; the first with any match wins, and of its matches the last
(paper, section 1b). What looks like a fault here is a fault there: changing it changes published numbers.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from deepperception.grounding.boxes import Corners

NOTHING: Corners = (0.0, 0.0, 0.0, 0.0)

Parts = tuple[str, str, str, str]
"""Four numbers as a reply writes them."""

_HEAD = re.compile(r"\((\d*),")
_TAIL = re.compile(r"\),\((\d*),(\d*)\)")
_CLOSING_TAIL = re.compile(_TAIL.pattern + "</answer>")

# As regular expressions, the forms with blanks for any text take the cube of a reply's length and more: hours for
# "(1,(1,(1,...". None of them spans a newline, and the first place that fits leaves the rest the most room: they are
# read line by line, each piece at its first place behind the one before. Where one is missing, no later start in the
# line has it either, so that the time grows with the length alone.


def _after(opening: str, tail: re.Pattern[str], text: str) -> Iterator[Parts]:
    """`opening`, then any text, `(n,`, any text, and `tail`; the second number is the digits right before the tail."""
    for line in text.split("\n"):
        end = 0
        while (
            (start := line.find(opening, end)) >= 0
            and (head := _HEAD.search(line, start + len(opening)))
            and (rest := tail.search(line, head.end()))
        ):
            second = rest.start()
            while second > head.end() and line[second - 1].isdecimal():
                second -= 1
            yield head[1], line[second : rest.start()], rest[1], rest[2]
            end = rest.end()


def _between(marks: tuple[str, ...], text: str) -> Iterator[Parts]:
    """The texts between the first three `marks`, and between the last three, each as short as possible."""
    for line in text.split("\n"):
        end = 0
        while places := _places(marks, line, end):
            x1, y1, x2, y2 = (line[start:stop] for start, stop in places[:2] + places[-2:])
            yield x1, y1, x2, y2
            end = places[-1][1] + len(marks[-1])


def _places(marks: tuple[str, ...], line: str, end: int) -> list[tuple[int, int]]:
    """Where the text from each mark to the next begins and stops; empty where not all marks follow."""
    stops = []
    for mark in marks:
        if (found := line.find(mark, end)) < 0:
            return []
        stops.append((end, found))
        end = found + len(mark)
    return stops[1:]


def _pattern(pattern: str) -> Callable[[str], Iterator[Parts]]:
    compiled = re.compile(pattern)

    def read(text: str) -> Iterator[Parts]:
        for found in compiled.finditer(text):
            x1, y1, x2, y2 = found.groups()
            yield x1, y1, x2, y2

    return read


# Each with a text that it cannot do without: looking for that first spares most replies most forms.
_FORMS: tuple[tuple[str, Callable[[str], Iterator[Parts]]], ...] = (
    ("</answer>", partial(_after, "<answer>", _CLOSING_TAIL)),
    ("So the answer is", partial(_after, "So the answer is", _TAIL)),
    ("),(", partial(_after, "", _TAIL)),
    (")", partial(_between, ("(", ",", ")", "(", ",", ")"))),
    ("[", _pattern(r"\[(\d*), (\d*), (\d*), (\d*)\]")),
    ("[", partial(_between, ("[", ", ", ", ", ", ", "]"))),
    ("(", _pattern(r"\((\d*), (\d*), (\d*), (\d*)\)")),
    ("(", _pattern(r"\((\d*), (\d*)\)\n?.*?\((\d*), (\d*)\)")),
)


def official_box(text: str) -> Corners:
    """(x1, y1, x2, y2) as the paper's evaluator reads them; (0, 0, 0, 0) where it reads none.

    Not necessarily a box: corners may be swapped, negative or beyond 1000. Never raises.
    """
    return official_reading(text)[0]


def official_reading(text: str) -> tuple[Corners, int]:
    """The corners, and the number (1-8) of the form that won; 0 for none."""
    for number, (needed, form) in enumerate(_FORMS, start=1):
        if needed in text and (last := deque(form(text), maxlen=1)):
            return _corners(last[0]), number
    return NOTHING, 0


def _corners(parts: Parts) -> Corners:
    first, *others = parts
    try:
        x1, y1, x2, y2 = (float(part) for part in (first.replace("[", "").replace("x", ""), *others))
    except ValueError:
        return NOTHING
    scale = 1000 if x1 + y1 + x2 + y2 < 4 else 1  # 0-1 fractions; upstream asks for no more than a small sum
    return (x1 * scale, y1 * scale, x2 * scale, y2 * scale)
