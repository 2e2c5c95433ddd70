"""Waiting for a TrainJob: by watching, with a new look whenever the watch ends, and through an API that is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from deepperception.errors import InfrastructureError
from deepperception.platform.trainjob.cluster import Away, Cluster, Job

T = TypeVar("T")

DEADLINE = "DeadlineExceeded"
"""Trainer's reason for a job that failed by its activeDeadlineSeconds."""
UNSUPPORTED = "TrainingRuntimeNotSupported"
"""Trainer's reason for a job whose runtime it cannot use."""
_ORDINARY = ("ContainerCreating", "PodInitializing", "Completed", "Error")


@dataclass(frozen=True)
class Pace:
    """How long the launcher waits for what. The training goes on while the API is away: there is no hurry."""

    patience_s: float = 1800.0
    """For an API that does not answer."""
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    look_s: float = 20.0
    """Of one watch: how often a job that does not change is looked at anew, and its pods."""


@dataclass(frozen=True)
class Tools:
    """What waiting needs from outside, so that a test has its own."""

    cluster: Cluster
    say: Callable[[str], None]
    pace: Pace = Pace()
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def patiently(self, action: Callable[[], T]) -> T:
        """The result of `action`, repeated while the API is away; InfrastructureError where that lasts too long."""
        began, pause_s, said = self.clock(), self.pace.first_pause_s, False
        while True:
            try:
                result = action()
            except Away as away:
                if self.clock() - began > self.pace.patience_s:
                    raise InfrastructureError(
                        f"{away} It has been away for {self.pace.patience_s:.0f} s; the training may still run, and "
                        "the next attempt looks for it."
                    ) from None
                if not said:
                    self.say(f"waiting: {away}")
                said = True
                self.sleep(pause_s)
                pause_s = min(2 * pause_s, self.pace.longest_pause_s)
            else:
                if said:
                    self.say("the API is back")
                return result


@dataclass(frozen=True)
class Ending:
    """How a job ended: complete, failed, deleted, or kept waiting for too long."""

    how: str
    job: Job | None = None

    @property
    def message(self) -> str:
        """Trainer's own words."""
        return self.job.message or self.job.reason if self.job else ""


def ended(tools: Tools, name: str, uid: str, queue_wait_s: int | None) -> Ending:
    """Wait until the job `uid` of that name has ended, and say what changes meanwhile."""
    told = _Told(tools.say)
    suspended_since: float | None = None
    for job in _states(tools, name):
        if job is None or job.uid != uid or job.leaving:
            return Ending("deleted", job)
        if job.state:
            return Ending("complete" if job.state == "Complete" else "failed", job)
        if job.suspended:
            suspended_since = tools.clock() if suspended_since is None else suspended_since
            told("the TrainJob is suspended: it waits for its queue, or for the one who suspended it")
            if queue_wait_s is not None and tools.clock() - suspended_since >= queue_wait_s:
                return Ending("suspended", job)
            continue
        if suspended_since is not None:
            told("the TrainJob goes on")
        suspended_since = None
        _say_what_waits(tools, name, told)
    raise AssertionError("a job's states come to no end by themselves")


def _states(tools: Tools, name: str) -> Iterator[Job | None]:
    """What is seen of the job: at once, at every change, and every time that a watch ends."""
    while True:
        job, version = tools.patiently(lambda: tools.cluster.find(name))
        began = tools.clock()
        yield from chain([job], tools.cluster.changes(name, version, tools.pace.look_s))
        if tools.clock() - began < tools.pace.first_pause_s:  # the watch broke at once
            tools.sleep(tools.pace.first_pause_s)


def _say_what_waits(tools: Tools, name: str, told: _Told) -> None:
    """Say why pods do not start: no room, no quota, no image."""
    try:
        nodes = tools.cluster.nodes(name)
        for node in nodes:
            if node.phase == "Pending" and (node.waiting or node.reason not in ("", *_ORDINARY)):
                told(f"node {node.index} does not start yet: {node.waiting or node.reason}")
        if not nodes and (warnings := tools.cluster.warnings(name)):
            told(f"no node has started yet: {warnings[-1]}")
    except Away:
        pass  # the next look at the job says so


class _Told:
    """Says a line once, until another is said."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._last = say, ""

    def __call__(self, line: str) -> None:
        if line != self._last:
            self._last = line
            self._say(line)
