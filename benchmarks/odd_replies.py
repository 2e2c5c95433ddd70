"""Replies that no model should give: random ones, ones that were tampered with, and ones made to be slow to read."""

from __future__ import annotations

import random
from collections.abc import Iterator

_PIECES = [
    *"()[]{}<>,.;:=\"'\\/-+x \n\t0123456789",
    *("1e9", "nan", "inf", "0.5", "1000", "-3", "9" * 40, "\u0663", "\ufeff", "\u2028", "\x00", "猫", "\U0001f426"),
    *("), (", "),(", "(1,2),(3,4)", "[1, 2, 3, 4]", "[[1,2],[3,4]]", '"bbox_2d": [1, 2, 3, 4]', "x1=", '"y_max": '),
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<ANSWER>",
        "So the answer is",
        "<|box_start|>",
        "```json",
        "None",
    ),
]
_WELL_FORMED = [
    "<think>The left one has a crest (1,2),(3,4).</think><answer>kite(100,200),(300,400)</answer>",
    'So the answer is (10,20),(30,40) and not [{"bbox_2d": [12, 34, 56, 78], "label": "kite"}]',
    "[0.1, 0.2, 0.3, 0.4]",
    "x1=10, y1=20, x2=30, y2=40",
    "(10, 20)\n(30, 40)",
]


def odd_replies(count: int, seed: int = 0) -> Iterator[str]:
    """Half of them pieces in any order, half of them well-formed replies that something happened to."""
    rng = random.Random(seed)
    for number in range(count):
        if number % 2:
            yield "".join(rng.choices(_PIECES, k=rng.randrange(40)))
        else:
            yield _tampered(rng.choice(_WELL_FORMED), rng)


def _tampered(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 5)):
        first, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        text = rng.choice(
            (
                text[:first] + text[end:],
                text[:first] + rng.choice(_PIECES) + text[first:],
                text[:first] + text[first:end] * rng.randint(2, 4) + text[end:],
                text[:first] + text[first:end][::-1] + text[end:],
                text[:end],
                text[:first] + rng.choice(_WELL_FORMED) + text[end:],
            )
        )
    return text


def slow_replies(length: int) -> dict[str, str]:
    """About `length` characters each: beginnings without an end, which a careless pattern tries from every place."""
    beginnings = [
        *("(", "[", "1", ",", " ", "\n", "(1,", "(1, ", "[1, ", "[a, ", "(1,2),(3", "(1, 2)", "(1, 2)\n", "),("),
        *("<answer>", "<answer>(1,", "</answer>", "<think>", "</think>", "So the answer is(1,", "x1=1, ", "x1=1,y1=2,"),
        *("1,1,1,1a", "1     2     3     4 ", "(1     2     3     4 ", "[" + "9" * 30 + ", ", '{"bbox_2d": [', "0.5,"),
        *("(1,2)(3,4", "\u0663,", "1.1.1.1,", "x_min"),
    ]
    made = {}
    for beginning in beginnings:
        made[beginning] = beginning * (length // len(beginning))
        # Many beginnings, then nothing of what they wait for.
        for tail in ("a", "(1"):
            half = length // 2
            made[f"{beginning} then {tail}"] = beginning * (half // len(beginning)) + tail * (half // len(tail))
    return made
