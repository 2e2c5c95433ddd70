"""What the launcher asks of Kubernetes, and what it is told: `Cluster` is implemented in api.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from deepperception.errors import InfrastructureError
from deepperception.platform.trainjob.render import SPEC, TrainJob


class Away(InfrastructureError):
    """The API does not answer, or not now; the same question may be answered later."""


@dataclass(frozen=True)
class Job:
    """A TrainJob, as it stands."""

    uid: str
    spec: str | None
    """Digest of what it was asked for; None where somebody else made it."""
    leaving: bool
    """Whether it was deleted, and its pods are on their way out."""
    suspended: bool
    state: str
    """Complete, Failed, or "" while it is neither."""
    reason: str = ""
    message: str = ""

    @classmethod
    def of(cls, thing: dict[str, Any]) -> Job:
        """Read what the API gives."""
        metadata = thing["metadata"]
        conditions = {each["type"]: each for each in thing.get("status", {}).get("conditions", [])}
        holding = {kind: each for kind, each in conditions.items() if each["status"] == "True"}
        end = holding.get("Complete") or holding.get("Failed") or {}
        # A job that ended may still be called suspended: Kueue suspends what it takes out of its queue.
        suspended = not end and ("Suspended" in holding or bool(thing["spec"].get("suspend")))
        return cls(
            uid=metadata["uid"],
            spec=metadata.get("annotations", {}).get(SPEC),
            leaving="deletionTimestamp" in metadata,
            suspended=suspended,
            state=end.get("type", ""),
            reason=end.get("reason", ""),
            message=" ".join(end.get("message", "").split()),
        )


@dataclass(frozen=True)
class Node:
    """One pod of a job."""

    pod: str
    index: int
    """Of the node, from 0."""
    phase: str
    exit_code: int | None = None
    reason: str = ""
    """Why its container ended, or does not start: OOMKilled, ImagePullBackOff."""
    disrupted: bool = False
    """Whether the cluster took it away: drained, preempted, evicted."""
    ended_at: str = ""
    waiting: str = field(default="", compare=False)
    """Why it has no node."""


class Cluster(Protocol):
    """TrainJobs in one namespace. Every method raises Away where the API is away, InputError where it refuses."""

    def find(self, name: str) -> tuple[Job | None, str]:
        """The job, and the version of what was seen, for `changes`."""

    def changes(self, name: str, version: str, within_s: float) -> Iterator[Job | None]:
        """The job whenever it changes, None once it is gone; ends after that time, or where the connection breaks."""

    def create(self, job: TrainJob) -> Job | None:
        """The job that was made; None where there is one of that name."""

    def delete(self, name: str) -> None:
        """Have the job and its pods go; nothing happens where there is none."""

    def nodes(self, name: str) -> list[Node]:
        """Its pods, by index."""

    def log(self, pod: str, since_s: int | None) -> Iterator[str]:
        """Lines of a pod, each behind its time, as they come; of the last `since_s` seconds only."""

    def last_lines(self, pod: str, count: int) -> list[str]:
        """How a pod's log ended."""

    def warnings(self, name: str) -> list[str]:
        """What Kubernetes complained of about the job and what was made for it, oldest first."""
