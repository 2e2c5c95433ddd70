"""Where a release stands, kept on the cluster, and who may go on with it: a Lease beside the InferenceService.

The record is a Lease's annotation and not the InferenceService's own: KServe hands the latter's annotations down to its
pods, so that every note would restart the champion. The Lease is held by one process at a time, shown alive by its
renewal, and written only as the version that was read: of two releases, one loses.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from deepperception.errors import InfrastructureError
from deepperception.progress import Progress
from deepperception.promotion.cluster import Conflict, Object, ServingCluster, Target
from deepperception.promotion.service import LEASE

RECORD = "deepperception.io/release"
_KEPT_NOTES = 60


class State(StrEnum):
    """What the InferenceService is meant to serve, and what is waited for. docs/promotion.md draws it."""

    SEEDING = "seeding"
    """Nothing is served yet: the champion is."""
    LAUNCHED = "launched"
    """The candidate beside the champion, without requests; it loads."""
    SMOKE = "smoke"
    """The same; it is asked the golden pictures."""
    CANARY = "canary"
    """It has the share `step` of the requests, and is watched."""
    REPLACING = "replacing"
    """In the champion's place at once, where that was allowed; it loads."""
    PROMOTED = "promoted"
    """It has all requests; the aliases follow."""
    REVERTING = "reverting"
    """The champion alone again; the registry follows."""
    RETURNING = "returning"
    """After the change: the previous version beside the served one, without requests; it loads."""
    RETURNED = "returned"
    """The previous version has all requests; the aliases follow."""
    RESTORING = "restoring"
    """After a replacement that failed: the previous version in its place again; it loads."""
    RELEASED = "released"
    ROLLED_BACK = "rolled back"


ENDED = (State.RELEASED, State.ROLLED_BACK)


@dataclass(frozen=True)
class Side:
    """One of the two versions of a release."""

    number: int
    digest: str
    predictor: Object


@dataclass(frozen=True)
class Record:
    """The whole state of a release; everything that a process needs to go on with it."""

    key: str
    """Of the candidate and the evidence: the same release run again."""
    state: State
    candidate: Side
    previous: Side
    aliases: dict[str, int | None]
    """What the aliases are to be if it is rolled back."""
    step: int = 0
    """Percent of the requests that the candidate has as a canary."""
    reason: str = ""
    """Why it was rolled back."""
    notes: list[dict[str, str]] = field(default_factory=list)
    """What happened, oldest first: {"time", "state", "note"}."""

    def at(self, state: State, note: str = "", **change: Any) -> Record:
        """The next one, with a note of the change."""
        told = f"{state.value} {change['step']} %" if state is State.CANARY and "step" in change else state.value
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "state": told, "note": note}
        return replace(self, state=state, notes=[*self.notes, entry][-_KEPT_NOTES:], **change)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        content = json.loads(text)
        sides = {name: Side(**content[name]) for name in ("candidate", "previous")}
        return cls(**{**content, **sides, "state": State(content["state"])})


def read_record(cluster: ServingCluster, target: Target) -> Record | None:
    """What the last release left, or the present one is at; asks for nothing else."""
    return _record(cluster.read(LEASE, _name(target)))


class Journal:
    """A release's record, while this process holds its Lease."""

    def __init__(self, cluster: ServingCluster, target: Target, progress: Progress) -> None:
        self._cluster, self._target, self._progress = cluster, target, progress
        self.holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._shown_s = 0.0

    def take(self, *, same_release: str | None = None, by_force: bool = False) -> Record | None:
        """Hold the Lease; returns the record there is.

        A holder that shows no life for `lease_s` is taken for dead. One that lives is waited for where it runs
        `same_release`, else InfrastructureError; a rollback takes the Lease from it, `by_force`.
        """
        seen, since_s, said = "", time.monotonic(), False
        while True:
            lease = self._cluster.read(LEASE, _name(self._target))
            holder = lease and lease.get("spec", {}).get("holderIdentity")
            try:
                if lease is None:
                    self._cluster.create(LEASE, self._empty())
                    return None
                shown = str(lease["spec"].get("renewTime"))
                if shown != seen:  # by this machine's clock: the holder's own may be wrong
                    seen, since_s = shown, time.monotonic()
                elif time.monotonic() - since_s > self._target.lease_s:
                    by_force = True
                if not holder or holder == self.holder or by_force:
                    self._cluster.replace(LEASE, self._held(lease, self.holder))
                    return _record(lease)
            except Conflict:
                continue
            self._refuse_other(_record(lease), str(holder), same_release)
            if not said:
                self._progress.say(f"waiting: {holder} holds the release of {self._target.name}, or died with it")
                said = True
            time.sleep(min(self._target.poll_s, self._target.lease_s / 4))

    def write(self, record: Record) -> None:
        """Keep the record; InfrastructureError where another process has taken the Lease."""
        self._renew(record)

    def beat(self) -> None:
        """Show that this process lives, now and then; as `write`."""
        if time.monotonic() - self._shown_s > self._target.lease_s / 3:
            self._renew(None)

    def let_go(self) -> None:
        """Let the next one have it at once."""
        self._renew(None, holder="")

    def _renew(self, record: Record | None, holder: str | None = None) -> None:
        while True:
            lease = self._cluster.read(LEASE, _name(self._target))
            if lease is None or lease["spec"].get("holderIdentity") != self.holder:
                other = lease["spec"].get("holderIdentity") or "nobody" if lease else "nobody"
                raise InfrastructureError(
                    f"the release of {self._target.name} was taken over by {other}; this process leaves it alone."
                )
            wanted = self._held(lease, self.holder if holder is None else holder)
            if record is not None:
                wanted["metadata"].setdefault("annotations", {})[RECORD] = record.to_json()
            try:
                self._cluster.replace(LEASE, wanted)
            except Conflict:
                continue
            self._shown_s = time.monotonic()
            return

    def _refuse_other(self, record: Record | None, holder: str, same_release: str | None) -> None:
        if record and record.state not in ENDED and record.key != same_release:
            raise InfrastructureError(
                f"a release of version {record.candidate.number} is under way ({record.state.value}, by {holder}); "
                "wait for it, or end it with `deepperception rollback`."
            )

    def _empty(self) -> Object:
        metadata = {"name": _name(self._target), "namespace": self._target.namespace}
        bare: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": LEASE, "metadata": metadata, "spec": {}}
        return self._held(bare, self.holder)

    def _held(self, lease: Object, holder: str) -> Object:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {"holderIdentity": holder, "renewTime": now, "leaseDurationSeconds": max(1, round(self._target.lease_s))}
        metadata = {**lease["metadata"], "annotations": dict(lease["metadata"].get("annotations") or {})}
        return {**lease, "metadata": metadata, "spec": {**lease["spec"], **spec}}


def _record(lease: Object | None) -> Record | None:
    kept = ((lease or {}).get("metadata", {}).get("annotations") or {}).get(RECORD)
    return Record.from_json(kept) if kept else None


def _name(target: Target) -> str:
    return f"{target.name}-release"
