"""Work done ahead of its use, by a few threads, never more of it than was asked for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORKERS = min(8, os.cpu_count() or 1)


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, workers: int = WORKERS, at_most: int
) -> Generator[R, None, None]:
    """`work` of each item, in order; up to `at_most` of them are under way, or done and not yet taken.

    Items are drawn in the caller's thread. An error of `work` is raised at its item's place; what is under way then is
    waited for, what has not begun is dropped.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    under_way: deque[Future[R]] = deque()
    source = iter(items)
    try:
        for item in source:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= at_most:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
