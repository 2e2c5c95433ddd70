"""The budgets of a service: how long an answer takes, and what memory its server holds.

Evaluations keep no times, for they are to be the same bytes each time. So both are measured on the candidate's own
service, with the golden pictures, one at a time: on another machine or under load they are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deepperception.errors import InfrastructureError
from deepperception.promotion import golden, guard
from deepperception.promotion.cluster import Cluster
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.criteria import Criterion, Verdict
from deepperception.promotion.golden import Answered, Golden


class Service(Protocol):
    """What tells of itself at a URL."""

    def metrics(self, url: str) -> str: ...


@dataclass(frozen=True)
class Measured:
    """None where it could not be measured."""

    p95_s: float | None
    memory_bytes: float | None
    pictures: int = 0


def wants(config: PromotionConfig) -> bool:
    """Whether the recipe has a budget."""
    return config.max_p95_s is not None or config.max_memory_gib is not None


def measure(cluster: Cluster, model: Path, pictures: Sequence[Golden]) -> Measured:
    """Serve the model for as long as it takes."""
    with cluster.serving(model) as url:
        return measured(cluster, url, golden.ask(cluster, url, pictures, share=0.0))


def measured(cluster: Service, url: str, answered: Answered) -> Measured:
    """From the answers that a service gave, and what its process says of itself."""
    try:
        memory = guard.memory_bytes(cluster.metrics(url))
    except InfrastructureError:
        memory = None  # the criterion says that it was not measured, and refuses where there is a budget
    times = sorted(answered.seconds)
    p95 = times[min(len(times) - 1, int(0.95 * len(times)))] if times else None
    return Measured(p95, memory, len(times))


def judge(config: PromotionConfig, measured: Measured | None) -> list[Criterion]:
    """The two criteria; `measured` None: they are measured at the dark launch, before users are sent there."""
    gib = None if measured is None or measured.memory_bytes is None else measured.memory_bytes / 2**30
    pictures = measured.pictures if measured else 0
    return [
        _budget(
            "latency",
            "s",
            config.max_p95_s,
            measured.p95_s if measured else None,
            measured is None,
            f"95th percentile of {pictures} golden pictures, one at a time",
        ),
        _budget(
            "memory", "GiB", config.max_memory_gib, gib, measured is None, "resident memory of the server's process"
        ),
    ]


def _budget(name: str, unit: str, limit: float | None, value: float | None, later: bool, how: str) -> Criterion:
    asked = "" if limit is None else f"at most {limit:g} {unit}"
    if limit is None:
        told = "" if value is None else f"; measured: {value:.2f} {unit} ({how})"
        return Criterion(name, asked, value, "not asked", f"the recipe has no {name} budget{told}")
    if later:
        return Criterion(name, asked, None, "later", f"{name} is measured at the dark launch ({asked})")
    if value is None:
        return Criterion(name, asked, None, "fail", f"{name} could not be measured, and the recipe asks for {asked}")
    verdict: Verdict = "pass" if value <= limit else "fail"
    return Criterion(name, asked, value, verdict, f"{name} is {value:.2f} {unit} ({how}); {asked} is allowed")
