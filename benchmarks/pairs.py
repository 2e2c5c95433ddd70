"""How two ways to do the same work are timed against each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

ROUNDS = 5

Work = Callable[[], Any]


class Measured(Protocol):
    """Anything that has a line in bench.json: name, ours, peer, ratio, goal, holds; `told` takes the times' place."""

    def measure(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Pair:
    """Two ways to one result. `ratio` = peer's time / ours, which is to reach `goal`."""

    name: str
    ours: Work
    peer: Work
    goal: float
    check: Callable[[], bool] | None = None
    """Whether both lead to the same, where what they return cannot show it."""

    def measure(self, rounds: int = ROUNDS) -> dict[str, Any]:
        """One line of bench.json: medians in seconds over rounds that take turns, after one that warms both up.

        `holds` also asks for equal results. The machine may be busy with other work: the ratio counts, not the times.
        """
        equal = self.ours() == self.peer() and (self.check is None or self.check())
        ours, peer = [], []
        for _ in range(rounds):
            ours.append(_timed(self.ours))
            peer.append(_timed(self.peer))
        # Neighbours in time share what else the machine does: the ratio is taken round by round.
        ratio = median(theirs / own for own, theirs in zip(ours, peer, strict=True))
        return {
            "name": self.name,
            "ours": median(ours),
            "peer": median(peer),
            "ratio": ratio,
            "goal": self.goal,
            "equal": equal,
            "holds": equal and ratio >= self.goal,
        }


def _timed(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
