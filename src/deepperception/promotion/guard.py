"""What a canary must show at every step: its own requests, held against those of the served version in the same time.

Both are read from the servers' own counters, pod by pod: what a load balancer in between would tell is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from deepperception.errors import InfrastructureError
from deepperception.promotion.config import ReleaseConfig
from deepperception.statistics import wilson

# The server's metrics, as serving/ names them.
REQUESTS, STATUS = "deepperception_requests_total", "status"
SECONDS = "deepperception_request_seconds_bucket"
PREDICTIONS, BOXES = "deepperception_predictions_total", "deepperception_boxes_found_total"
MEMORY = "process_resident_memory_bytes"


@dataclass
class Counters:
    """What a server has counted since it started, or a window of it."""

    requests: float = 0.0
    errors: float = 0.0
    """Answered with 5xx. What a client did wrong, and 429, is no fault of the model."""
    seconds: dict[float, float] = field(default_factory=dict)
    """Upper bound -> requests that took no longer."""
    predictions: float = 0.0
    found: float = 0.0
    """Predictions that hold a box."""

    def __add__(self, other: Counters) -> Counters:
        bounds = self.seconds.keys() | other.seconds.keys()
        return Counters(
            self.requests + other.requests,
            self.errors + other.errors,
            {bound: self.seconds.get(bound, 0.0) + other.seconds.get(bound, 0.0) for bound in bounds},
            self.predictions + other.predictions,
            self.found + other.found,
        )

    def since(self, before: Counters) -> Counters:
        """The window between two readings of one server; all of it where the server was started in between."""
        if self.requests < before.requests or self.predictions < before.predictions:
            return self
        return Counters(
            self.requests - before.requests,
            self.errors - before.errors,
            {bound: count - before.seconds.get(bound, 0.0) for bound, count in self.seconds.items()},
            self.predictions - before.predictions,
            self.found - before.found,
        )

    def quantile(self, share: float) -> float | None:
        """Seconds that this share of the requests did not exceed, as Prometheus estimates it; None without requests.

        Within a bucket, requests are taken to be spread evenly; beyond the last bound, that bound is the answer.
        """
        bounds = sorted(self.seconds.items())
        total = bounds[-1][1] if bounds else 0.0
        if total <= 0:
            return None
        low, below = 0.0, 0.0
        for bound, count in bounds:
            if count >= share * total:
                if math.isinf(bound):
                    return low
                return low + (bound - low) * (share * total - below) / (count - below) if count > below else bound
            low, below = bound, count
        return low


def read(text: str) -> Counters:
    """The counters in what a server tells Prometheus; InfrastructureError where it is no such text.

    A counter that nothing was counted with yet is absent, and is 0.
    """
    read_ = Counters()
    for name, labels, value in _samples(text):
        if name == REQUESTS:
            read_.requests += value
            read_.errors += value if labels.get(STATUS, "").startswith("5") else 0.0
        elif name == SECONDS:
            bound = float(labels["le"])
            read_.seconds[bound] = read_.seconds.get(bound, 0.0) + value
        elif name == PREDICTIONS:
            read_.predictions += value
        elif name == BOXES:
            read_.found += value
    return read_


def memory_bytes(text: str) -> float | None:
    """What the server's process holds in memory; None where it does not tell."""
    return next((value for name, _, value in _samples(text) if name == MEMORY), None)


def faults(canary: Counters, stable: Counters, config: ReleaseConfig) -> list[str]:
    """A sentence for everything that speaks against the canary, after the whole of a step."""
    found = []
    share = canary.errors / canary.requests if canary.requests else 0.0
    if share > config.max_error_share:
        found.append(_errors(canary, config))
    slow, usual = canary.quantile(0.95), stable.quantile(0.95)
    if slow is not None and usual is not None and slow > config.max_latency_ratio * usual:
        found.append(
            f"its 95th percentile is {slow:.2f} s where the served version's is {usual:.2f} s"
            f" (at most {config.max_latency_ratio:g} times as much)"
        )
    if canary.predictions and stable.predictions:
        # Of few answers, a low share may be chance: the most that they allow for must be too low.
        most = wilson(round(canary.found), round(canary.predictions))[1]
        usual_found = stable.found / stable.predictions
        if most < usual_found - config.max_found_drop:
            found.append(
                f"it finds a box in {canary.found / canary.predictions:.0%} of its answers (95 % interval up to"
                f" {most:.0%}), the served version in {usual_found:.0%} (at most {config.max_found_drop:.0%} less)"
            )
    return found


def alarm(canary: Counters, config: ReleaseConfig) -> str | None:
    """What need not be waited for: errors beyond what chance would make of the allowed share."""
    if canary.errors and wilson(round(canary.errors), round(canary.requests))[0] > config.max_error_share:
        return _errors(canary, config)
    return None


def told(canary: Counters, stable: Counters) -> str:
    """Both windows in a line."""
    return f"canary: {_line(canary)}; served version: {_line(stable)}"


def _line(window: Counters) -> str:
    p95 = window.quantile(0.95)
    parts = [f"{window.requests:.0f} requests", f"{window.errors:.0f} failed"]
    parts += [f"p95 {p95:.2f} s"] if p95 is not None else []
    parts += [f"a box in {window.found / window.predictions:.0%}"] if window.predictions else []
    return ", ".join(parts)


def _errors(canary: Counters, config: ReleaseConfig) -> str:
    return (
        f"{canary.errors:.0f} of its {canary.requests:.0f} requests failed (at most {config.max_error_share:.1%} may)"
    )


def _samples(text: str) -> Iterable[tuple[str, Mapping[str, str], float]]:
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield sample.name, sample.labels, float(sample.value)
    except (ValueError, KeyError, IndexError) as error:
        raise InfrastructureError(f"the server's metrics cannot be read ({error}); is it of this release?") from None
