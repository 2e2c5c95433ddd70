"""The paper's own reading of a completion, quirks included, so that scores mean what its tables mean.

Eight forms are tried in order on the whole text; the first with any match wins, and of its matches the last
(paper, section 1b). What looks like a fault here is a fault there: changing it changes published numbers.
"""

from __future__ import annotations

import re

from deepperception.grounding.boxes import Corners

NOTHING: Corners = (0.0, 0.0, 0.0, 0.0)

# Atomic groups (?>...) change no match: where the rest only needs to find its pieces further along the line, the
# first place that fits leaves it the most room. Without them a reply such as "(1,(1,(1,..." takes hours.
_FIRST_CORNER_ON = r"\((?>(\d*),)"
_SECOND_NUMBER_ON = r".*?(\d*)\),\((\d*),(\d*)\)"
_FORMS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"<answer>(?>.*?{_FIRST_CORNER_ON})(?>{_SECOND_NUMBER_ON}</answer>)",
        rf"So the answer is(?>.*?{_FIRST_CORNER_ON})(?>{_SECOND_NUMBER_ON})",
        rf"{_FIRST_CORNER_ON}(?>{_SECOND_NUMBER_ON})",
        r"\((?>(.*?),)(?>(.*?)\))(?>.*?\()(?>(.*?),)(?>(.*?)\))",
        r"\[(\d*), (\d*), (\d*), (\d*)\]",
        r"\[(?>(.*?), )(?>(.*?), )(?>(.*?), )(?>(.*?)\])",
        r"\((\d*), (\d*), (\d*), (\d*)\)",
        r"\((\d*), (\d*)\)\n?.*?\((\d*), (\d*)\)",
    )
)


def official_box(text: str) -> Corners:
    """(x1, y1, x2, y2) as the paper's evaluator reads them; (0, 0, 0, 0) where it reads none.

    Not necessarily a box: corners may be swapped, negative or beyond 1000. Never raises.
    """
    return official_reading(text)[0]


def official_reading(text: str) -> tuple[Corners, int]:
    """The corners, and the number (1-8) of the form that won; 0 for none."""
    for number, form in enumerate(_FORMS, start=1):
        if matches := form.findall(text):
            return _corners(matches[-1]), number
    return NOTHING, 0


def _corners(parts: tuple[str, str, str, str]) -> Corners:
    first, *others = parts
    try:
        x1, y1, x2, y2 = (float(part) for part in (first.replace("[", "").replace("x", ""), *others))
    except ValueError:
        return NOTHING
    scale = 1000 if x1 + y1 + x2 + y2 < 4 else 1  # 0-1 fractions; upstream asks for no more than a small sum
    return (x1 * scale, y1 * scale, x2 * scale, y2 * scale)
