"""Measurements that are held against a limit, where there is no other way to time beside ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

ROUNDS = 5


@dataclass(frozen=True)
class Limit:
    """`take` measures once: ("seconds" and whatever else is worth stating), to stay within `goal` seconds."""

    name: str
    take: Callable[[], dict[str, Any]]
    goal: float
    rounds: int = ROUNDS
    also: Callable[[dict[str, Any]], bool] = field(default=lambda _: True)
    """What must hold beside the seconds."""

    def measure(self) -> dict[str, Any]:
        """One line of bench.json: the median round. There is no peer; `ratio` is how often ours goes into the goal."""
        taken = sorted((self.take() for _ in range(self.rounds)), key=lambda each: each["seconds"])
        ours = median(each["seconds"] for each in taken)
        told = {key: value for key, value in taken[len(taken) // 2].items() if key != "seconds"}
        return {
            "name": self.name,
            "ours": ours,
            "peer": None,
            "ratio": self.goal / ours,
            "goal": self.goal,
            **told,
            "holds": ours <= self.goal and all(self.also(each) for each in taken),
        }
