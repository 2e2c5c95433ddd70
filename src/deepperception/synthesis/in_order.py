"""Work on many things at once, its results in their order and never many of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

_AHEAD_PER_CORE = 4

Given = TypeVar("Given")
Made = TypeVar("Made")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(threads: Executor, work: Callable[[Given], Made], things: Iterable[Given]) -> Iterator[tuple[Given, Made]]:
    """Each thing with what `work` makes of it. Only a few things are taken ahead of the one asked for.

    Threads serve, and not processes: Pillow, OpenCV and NumPy let other threads run while they work on pixels.
    """
    waiting: deque[tuple[Given, Future[Made]]] = deque()
    try:
        for thing in things:
            waiting.append((thing, threads.submit(work, thing)))
            if len(waiting) >= _AHEAD_PER_CORE * cores():
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
