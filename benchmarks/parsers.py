"""Both parsers on replies that no model should give: how fast they are, and that length costs no more than length."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.limits import Limit
from benchmarks.odd_replies import odd_replies, slow_replies

REPLIES = 100_000
MEGABYTE = 1_000_000
_SMALLER = 8
FUZZ_GOAL_S, MEGABYTE_GOAL_S = 30.0, 10.0
# Eight times the length may take eight times as long and some noise; a pattern that is quadratic takes 64 times.
_MOST_GROWTH = 2.5 * _SMALLER
_TOO_SHORT_TO_TELL_S = 0.02


def fuzz() -> Limit:
    """CPU seconds for 100,000 odd replies through both parsers, none of which may raise."""
    return Limit("parser_fuzz", _fuzz, FUZZ_GOAL_S, rounds=1)


def length() -> Limit:
    """CPU seconds for the slowest of the odd replies of a megabyte, by the slower parser."""
    return Limit(
        "parser_megabyte", _longest, MEGABYTE_GOAL_S, rounds=1, also=lambda taken: taken["growth"] <= _MOST_GROWTH
    )


def _fuzz() -> dict[str, Any]:
    from deepperception.grounding import official_box, robust_box

    replies = list(odd_replies(REPLIES))
    boxes = 0
    started = time.process_time()
    for reply in replies:
        official_box(reply)
        boxes += robust_box(reply)[0] is not None
    return {"seconds": time.process_time() - started, "replies": REPLIES, "boxes": boxes}


def _longest() -> dict[str, Any]:
    from deepperception.grounding import official_box, robust_box

    worst: dict[str, Any] = {"seconds": 0.0}
    growth = 0.0
    smaller = slow_replies(MEGABYTE // _SMALLER)
    for name, text in slow_replies(MEGABYTE).items():
        for parser in (official_box, robust_box):
            seconds = _seconds(parser, text)
            if seconds > _TOO_SHORT_TO_TELL_S:
                growth = max(growth, seconds / max(_seconds(parser, smaller[name]), 1e-6))
            if seconds > worst["seconds"]:
                worst = {"seconds": seconds, "parser": parser.__name__, "reply": name, "bytes": len(text)}
    return {**worst, "growth": round(growth, 1), "growth_of_length": _SMALLER}


def _seconds(parser: Callable[[str], Any], text: str) -> float:
    started = time.process_time()
    parser(text)
    return time.process_time() - started
