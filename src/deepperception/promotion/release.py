"""The release: a version takes the place of another one on the cluster, in states that are kept there.

Every state says what the InferenceService is to serve, and what is waited for until the next one. The state is written
first and then the object, and both can be repeated: a process that is killed anywhere is simply run again, and goes on
from the state that it finds. Whatever speaks against the candidate leads back to the version before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.progress import Progress
from deepperception.promotion import budgets, golden, registry, watch
from deepperception.promotion.cluster import Conflict, Object, ServingCluster, Target
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.golden import Golden
from deepperception.promotion.journal import ENDED, Journal, Record, Side, State
from deepperception.promotion.service import (
    SERVICE,
    canaries,
    is_canary_ready,
    is_ready,
    revision,
    service,
    shares,
    with_spec,
)
from deepperception.promotion.watch import Setback
from deepperception.tracking import Tracker


@dataclass
class Release:
    """Brings one InferenceService from state to state. Holds the journal's Lease while it does."""

    cluster: ServingCluster
    target: Target
    tracker: Tracker
    config: PromotionConfig
    progress: Progress
    journal: Journal
    pictures: Sequence[Golden] = ()

    def drive(self, record: Record) -> Record:
        """Go on until the end; the record's state is one of ENDED then.

        InfrastructureError where the cluster, the registry or the version to go back to fails: run again to go on.
        """
        handlers: dict[State, Callable[[Record], Record]] = {
            State.SEEDING: self._seed,
            State.LAUNCHED: self._load,
            State.SMOKE: self._smoke,
            State.CANARY: self._canary,
            State.REPLACING: self._replace,
            State.PROMOTED: self._promote,
            State.REVERTING: self._revert,
            State.RETURNING: self._bring_back,
            State.RETURNED: self._settle_back,
            State.RESTORING: self._restore,
        }
        while record.state not in ENDED:
            self._say(record)
            self._apply(record)
            try:
                record = handlers[record.state](record)
            except Setback as setback:
                record = self._way_back(record, str(setback))
            self.journal.write(record)
        self._apply(record)
        self._say(record)
        self.journal.let_go()
        return record

    def _seed(self, record: Record) -> Record:
        self._await_stable(record.previous)
        return record.at(State.LAUNCHED, "the champion serves")

    def _load(self, record: Record) -> Record:
        self._await_canary(record.candidate)
        return record.at(State.SMOKE, "it has loaded")

    def _smoke(self, record: Record) -> Record:
        note = self._ask_golden(record.candidate)
        return record.at(State.CANARY, note, step=self.config.release.steps[0])

    def _canary(self, record: Record) -> Record:
        note = watch.step(self._watched(record), self.config.release, self._tick)
        self.progress.say(f"{record.step} %: {note}")
        later = [step for step in self.config.release.steps if step > record.step]
        return record.at(State.CANARY, note, step=later[0]) if later else record.at(State.PROMOTED, note)

    def _replace(self, record: Record) -> Record:
        self._await_stable(record.candidate)
        return record.at(State.PROMOTED, self._ask_golden(record.candidate))

    def _promote(self, record: Record) -> Record:
        self._await_stable(record.candidate)
        registry.crown(self.tracker, record.candidate.number, record.previous.number)
        return record.at(State.RELEASED, f"version {record.candidate.number} is champion")

    def _revert(self, record: Record) -> Record:
        self._await_stable(record.previous, lenient=True)
        registry.settle(self.tracker, record.aliases)
        return record.at(State.ROLLED_BACK, f"version {record.previous.number} serves, as before")

    def _bring_back(self, record: Record) -> Record:
        try:
            self._await_canary(record.previous)
        except Setback as setback:
            raise InfrastructureError(
                f"version {record.previous.number} cannot be brought back ({setback}); version"
                f" {record.candidate.number} goes on serving: mend it, and run `deepperception rollback` again."
            ) from None
        return record.at(State.RETURNED, "it has loaded")

    def _settle_back(self, record: Record) -> Record:
        self._await_stable(record.previous, lenient=True)
        registry.settle(self.tracker, record.aliases)
        return record.at(State.ROLLED_BACK, f"version {record.previous.number} is champion")

    def _restore(self, record: Record) -> Record:
        self._await_stable(record.previous, lenient=True)
        registry.settle(self.tracker, record.aliases)
        return record.at(State.ROLLED_BACK, f"version {record.previous.number} serves again")

    def _way_back(self, record: Record, reason: str) -> Record:
        """Where a candidate's failure leads to from each state."""
        self.progress.say(f"version {record.candidate.number}: {reason}")
        if record.state is State.SEEDING:
            raise InfrastructureError(f"the champion does not serve ({reason}); mend it, and run again.")
        back = {State.REPLACING: State.RESTORING, State.PROMOTED: State.RETURNING}.get(record.state, State.REVERTING)
        return record.at(back, reason, reason=reason)

    def _apply(self, record: Record) -> None:
        """Have the InferenceService ask for what the state says; nothing is written where it does already."""
        stable, canary, percent = wanted(record, self.target)
        while True:
            content = self.cluster.read(SERVICE, self.target.name)
            self.journal.beat()  # read first: whoever takes the Lease now and writes makes the replace below fail
            try:
                if content is None:
                    self.cluster.create(SERVICE, service(self.target, stable))
                elif not _asks_for(content, changed := with_spec(content, self.target, stable, canary, percent)):
                    self.cluster.replace(SERVICE, changed)
                else:
                    return
            except Conflict:
                continue

    def _await_stable(self, side: Side, *, lenient: bool = False) -> None:
        """Until the service is ready with this version. Setback where its pods fail, unless `lenient`: on the way back
        there is nowhere else to go, and a cluster that is late is waited for."""
        name = str(side.predictor.get("name", ""))

        def ready() -> bool:
            content = self.cluster.read(SERVICE, self.target.name)
            pods = self.cluster.pods(revision(self.target, name))
            if not lenient:
                watch.refuse_broken(pods, self.target.schedule_timeout_s, self._waited_s(began))
            return content is not None and is_ready(content) and any(pod.ready for pod in pods)

        began = time.monotonic()
        try:
            self._await(ready, began, f"version {side.number}")
        except Setback as setback:
            if not lenient:
                raise
            raise InfrastructureError(f"{setback}; look at its pods, and run again.") from None

    def _await_canary(self, side: Side) -> None:
        """Until the version beside the served one has a pod that serves. KServe 0.20 would route to it regardless."""
        name = str(side.predictor["name"])

        def ready() -> bool:
            content = self.cluster.read(SERVICE, self.target.name)
            pods = self.cluster.pods(revision(self.target, name))
            watch.refuse_broken(pods, self.target.schedule_timeout_s, self._waited_s(began))
            return content is not None and is_canary_ready(content, name) and any(pod.ready for pod in pods)

        began = time.monotonic()
        self._await(ready, began, f"version {side.number}")

    def _await(self, ready: Callable[[], bool], began: float, who: str) -> None:
        while not ready():
            if self._waited_s(began) > self.target.ready_timeout_s:
                raise Setback(f"{who} was not ready after {self.target.ready_timeout_s:.0f} s")
            self._tick()

    def _ask_golden(self, side: Side) -> str:
        """Setback where its service does not answer as its evaluation did, or breaks a budget."""
        pods = self.cluster.pods(revision(self.target, str(side.predictor["name"])))
        url = next((pod.url for pod in pods if pod.ready), None)
        if url is None:
            raise Setback(f"version {side.number} has no server that is ready")
        if not self.pictures:
            return "the recipe has no golden pictures to ask"
        try:
            answered = golden.ask(self.cluster, url, self.pictures, self.config.golden_share)
            criteria = budgets.judge(self.config, budgets.measured(self.cluster, url, answered))
        except (GateRefused, InfrastructureError, InputError) as error:
            raise Setback(str(error)) from None
        if broken := [criterion.sentence for criterion in criteria if criterion.verdict == "fail"]:
            raise Setback("; ".join(broken))
        return "; ".join([answered.told, *(criterion.sentence for criterion in criteria if criterion.limit)])

    def _watched(self, record: Record) -> watch.Watched:
        def pods(side: Side) -> watch.Pods:
            name = revision(self.target, str(side.predictor.get("name", "")))
            return lambda: self.cluster.pods(name)

        return watch.Watched(self.cluster, canary=pods(record.candidate), stable=pods(record.previous))

    def _tick(self) -> None:
        self.journal.beat()
        time.sleep(self.target.poll_s)

    def _say(self, record: Record) -> None:
        stable, canary, percent = wanted(record, self.target)
        share = f"{canary['name']} {percent} %" if canary is not None else "no canary"
        self.progress.say(f"{record.state.value}: {stable.get('name') or 'unnamed'} serves, {share}")

    @staticmethod
    def _waited_s(began: float) -> float:
        return time.monotonic() - began


def wanted(record: Record, target: Target) -> tuple[Object, Object | None, int]:
    """What is served in a state: (predictor, the one beside it, percent of the requests that that one has)."""
    old, new = record.previous.predictor, record.candidate.predictor
    if record.state in (State.LAUNCHED, State.SMOKE):
        return old, new, 0
    if record.state is State.CANARY:
        return old, new, record.step
    if record.state in (State.PROMOTED, State.RELEASED) and target.standby and old.get("name"):
        return new, old, 0
    if record.state in (State.PROMOTED, State.RELEASED, State.REPLACING):
        return new, None, 0
    if record.state is State.RETURNING:
        return new, old, 0
    return old, None, 0


def _asks_for(content: Object, changed: Object) -> bool:
    """Whether the object is as it is to be already; what KServe filled in by itself does not count."""
    same = [content["spec"]["predictor"], *(entry["predictor"] for entry in canaries(content))]
    other = [changed["spec"]["predictor"], *(entry["predictor"] for entry in canaries(changed))]
    return (
        shares(content) == shares(changed)
        and len(same) == len(other)
        and all(_covers(there, asked) for there, asked in zip(same, other, strict=True))
    )


def _covers(there: object, asked: object) -> bool:
    if isinstance(asked, dict):
        return isinstance(there, dict) and all(_covers(there.get(key), value) for key, value in asked.items())
    return there == asked
