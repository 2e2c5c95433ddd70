"""Looking after a version's pods: whether they come up, and what they say while users ask them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepperception.errors import InfrastructureError
from deepperception.promotion import guard
from deepperception.promotion.cluster import Pod, ServingCluster
from deepperception.promotion.config import ReleaseConfig
from deepperception.promotion.guard import Counters

Pods = Callable[[], Sequence[Pod]]
_STARTS = 2
"""Restarts that a server may need before it counts as crashing: a node that is short of memory for a moment is none."""


class Setback(Exception):
    """Something speaks against the candidate; the message says what, as the end of a sentence."""


@dataclass(frozen=True)
class Watched:
    """The two versions of a step."""

    cluster: ServingCluster
    canary: Pods
    stable: Pods


def refuse_broken(pods: Sequence[Pod], schedule_timeout_s: float, waited_s: float) -> None:
    """Setback where a pod cannot come up."""
    for pod in pods:
        if pod.trouble:
            raise Setback(f"its server does not run ({pod.trouble})")
        if pod.restarts >= _STARTS and not pod.ready:
            raise Setback(f"its server crashed {pod.restarts} times")
        if pod.unschedulable and waited_s > schedule_timeout_s:
            raise Setback(
                f"no node has room for it after {schedule_timeout_s:.0f} s ({pod.unschedulable}); free a GPU, or allow"
                " downtime with --allow-downtime"
            )


def step(watched: Watched, config: ReleaseConfig, tick: Callable[[], None]) -> str:
    """Watch one step of a canary until it has been asked enough; returns what was seen. Setback where that is bad."""
    canary, stable = _Reader(watched.cluster, watched.canary), _Reader(watched.cluster, watched.stable)
    began = time.monotonic()
    while True:
        tick()
        seen, usual = canary.window(strict=True), stable.window(strict=False)
        if sentence := guard.alarm(seen, config):
            raise Setback(sentence)
        enough = seen.requests >= config.min_requests
        if not enough and time.monotonic() - began < config.step_timeout_s:
            continue
        if not enough and config.quiet == "roll back":
            raise Setback(
                f"it had {seen.requests:.0f} requests in {config.step_timeout_s:.0f} s, and {config.min_requests} are"
                " needed to judge it"
            )
        if found := guard.faults(seen, usual, config):
            raise Setback("; ".join(found))
        return guard.told(seen, usual)


class _Reader:
    """The counters of a version since the step began, over all of its pods."""

    def __init__(self, cluster: ServingCluster, pods: Pods) -> None:
        self._cluster, self._pods = cluster, pods
        self._first: dict[str, Counters] = {}
        self._restarts: dict[str, int] = {}
        self.window(strict=False)

    def window(self, *, strict: bool) -> Counters:
        """With `strict`, Setback where a pod is gone, was started anew, or does not answer."""
        total = Counters()
        pods = {pod.name: pod for pod in self._pods() if pod.url}
        for name, pod in pods.items():
            if strict and pod.restarts > self._restarts.setdefault(name, pod.restarts):
                raise Setback(f"its server {name} crashed ({pod.trouble or 'it was started anew'})")
            if strict and not pod.ready:
                raise Setback(f"its server {name} is not ready any more ({pod.trouble or 'it fails its probe'})")
            try:
                counted = guard.read(self._cluster.metrics(pod.url))
            except InfrastructureError as error:
                if strict:
                    raise Setback(f"its server {name} tells nothing ({error})") from None
                continue
            total += counted.since(self._first.setdefault(name, counted))
        if strict and not pods:
            raise Setback("it has no server any more")
        return total
