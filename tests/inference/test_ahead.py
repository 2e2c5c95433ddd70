"""Work ahead of its use: in order, bounded, and its errors where they belong."""

from __future__ import annotations

import threading

import pytest

from deepperception.inference.ahead import ahead


def test_results_come_in_order_and_no_more_is_begun_than_was_asked_for() -> None:
    begun, taken, most = [0], 0, 0

    def items():
        for number in range(40):
            begun[0] += 1
            yield number

    for number, result in enumerate(ahead(lambda item: item * 2, items(), workers=3, at_most=5)):
        assert result == number * 2
        most = max(most, begun[0] - taken)
        taken += 1
    assert (taken, most) == (40, 5)


def test_several_are_under_way_at_once() -> None:
    meet = threading.Barrier(3, timeout=30)
    assert list(ahead(lambda item: meet.wait() >= 0 and item, range(1, 7), workers=3, at_most=3)) == [1, 2, 3, 4, 5, 6]


def test_one_is_done_while_the_one_before_is_used() -> None:
    done = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            done.set()
        return item

    results = ahead(work, range(3), workers=1, at_most=2)
    assert next(results) == 0
    assert done.wait(timeout=30), "the second was to be done before it is asked for"


def test_an_error_comes_at_its_place_and_ends_the_rest() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = ahead(work, range(100), workers=2, at_most=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
