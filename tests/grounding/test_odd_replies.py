"""Neither parser raises on anything, and neither takes more than its length's worth of time."""

from __future__ import annotations

import math
import time

import pytest

from benchmarks.odd_replies import odd_replies, slow_replies
from deepperception.grounding import official_box, parse, robust_box

SHORT, LONG = 10_000, 80_000


def test_a_hundred_thousand_odd_replies_are_read_without_an_exception() -> None:
    read = {official_box: 0, robust_box: 0}
    for reply in odd_replies(100_000):
        corners = official_box(reply)
        assert len(corners) == 4
        assert "nan" in reply or not any(map(math.isnan, corners))
        box, form = robust_box(reply)
        assert (box is None) == (form == "none")
        read[official_box] += any(corners)
        read[robust_box] += box is not None
    assert min(read.values()) > 10_000, "replies without a box would prove little"


def test_odd_replies_are_taken_apart_without_an_exception() -> None:
    for reply in odd_replies(5_000, seed=1):
        parse(reply)


@pytest.mark.parametrize("parser", [official_box, robust_box], ids=lambda parser: parser.__name__)
def test_eight_times_the_length_is_nowhere_near_sixty_four_times_the_work(parser) -> None:
    short = slow_replies(SHORT)
    slow = {}
    for name, text in slow_replies(LONG).items():
        growth = _seconds(parser, text) / max(_seconds(parser, short[name]), 0.002)
        if growth > 30:
            slow[name] = growth
    assert not slow


def _seconds(parser, text: str) -> float:
    taken = []
    for _ in range(2):
        started = time.process_time()
        parser(text)
        taken.append(time.process_time() - started)
    return min(taken)
