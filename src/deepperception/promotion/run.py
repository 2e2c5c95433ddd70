"""Promotion: the best arm meets the champion, and takes its place only when evidence and service both hold.

The order is the point: evidence is written, the version registered, its service checked, and the alias, which is what
everybody else goes by, moved last. Every step may be repeated, so a run that was killed anywhere is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from deepperception.artifacts import Context, Store, read_manifest
from deepperception.errors import GateRefused, InputError
from deepperception.promotion import budgets, golden, registry
from deepperception.promotion.cluster import Cluster
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.criteria import Criterion
from deepperception.promotion.evidence import Arm, Evidence, accuracy
from deepperception.promotion.gate import Decision, table
from deepperception.promotion.golden import Golden
from deepperception.promotion.registry import CHAMPION, current
from deepperception.promotion.release import Release
from deepperception.promotion.rollout import IMAGE_TAG, finish, key_of, roll_out
from deepperception.tracking import MODEL, Tracker, Version


@dataclass(frozen=True)
class Inputs:
    """What promotion looks at."""

    base: Arm
    """The first champion, where there is none yet."""
    arms: Sequence[Arm]
    """The candidates, in the order that breaks ties."""
    benchmark: Path
    """The dataset file that the validation evaluations were made on; golden pictures come from it."""
    evaluate_champion: Callable[[Version], Path]
    """Scores a champion that is none of the run's own models on the run's test split; gives the evaluation folder."""
    dataset: Path | None = None
    """The folder of the training data, whose card tells whether a leakage guard ran."""


@dataclass(frozen=True)
class Wishes:
    """What a user may ask for beyond the recipe."""

    override: str | None = None
    """The reason to promote although the gate says no."""
    again: bool = False
    """Release again what was rolled back."""
    downtime: bool = False
    """Replace the champion at once where there is no room for a canary."""


@dataclass(frozen=True)
class Result:
    """How it ended."""

    outcome: Literal["promoted", "already champion", "refused"]
    reason: str
    candidate: str
    """Name of the best arm."""
    champion: Version
    """The version that holds the alias now."""
    decision: Decision | None
    """None where there was nothing to decide."""


def run(
    config: PromotionConfig,
    inputs: Inputs,
    out: Path,
    context: Context,
    *,
    tracker: Tracker,
    store: Store,
    cluster: Cluster,
    release: Release | None = None,
    wishes: Wishes = Wishes(),
) -> Result:
    """Let the best arm replace the champion, if the gate and the service allow it. Evidence goes to `out`.

    With `release`, the champion is what a cluster serves: the candidate is brought there step by step. Without, it is
    served by `cluster` for as long as its test takes. A refusal by the gate is a result; GateRefused is for a service
    that does not do what evaluation saw.
    """
    champion = _champion(inputs.base, tracker)
    candidate = best(inputs.arms)
    evidence = Evidence(out, context, inputs.arms, candidate, champion, store, inputs.dataset)
    if candidate.model.digest == champion.digest:
        return _already(candidate, champion, evidence, tracker, release)

    pictures = golden.choose(candidate.validation, inputs.benchmark, config.golden)

    def measure() -> list[Criterion]:
        if release is not None or not budgets.wants(config):
            return budgets.judge(config, None)
        context.progress.say("serving the candidate to measure its budgets")
        return budgets.judge(config, budgets.measure(cluster, store.get(candidate.model), pictures))

    decision = evidence.decide(config, _test_of(champion, inputs), measure, wishes.override)
    context.progress.say(f"{candidate.name} against version {champion.number}: {decision.reason}")
    for line in table(decision.criteria).splitlines():
        context.progress.say(line)
    if not decision.promote:
        return Result("refused", decision.reason, candidate.name, champion, decision)

    proof = store.put(out).digest
    number = _register(candidate, decision, proof, tracker, release)
    if release is None:
        _try_out(config, candidate, number, pictures, context, store, cluster)
        registry.crown(tracker, number, champion.number)
    else:
        version = Version(number, candidate.model.uri, candidate.model.digest, candidate.run_id)
        _roll_out(replace(release, pictures=pictures), version, champion, proof, wishes)
    context.progress.say(f"version {number} ({candidate.name}) is champion")
    return Result("promoted", decision.reason, candidate.name, current(tracker), decision)


def best(arms: Sequence[Arm]) -> Arm:
    """The arm with the highest validation accuracy; of equals the first."""
    if not arms:
        raise InputError("there is no candidate to promote; give at least one model with its evaluations.")
    return max(arms, key=lambda arm: accuracy(arm.validation))


def _champion(base: Arm, tracker: Tracker) -> Version:
    """The champion; the base takes the place where it is empty, so that the first candidate has something to beat."""
    if champion := tracker.alias(MODEL, CHAMPION):
        return champion
    number = tracker.register(MODEL, base.model.uri, base.model.digest, base.run_id, {"arm": base.name})
    tracker.set_alias(MODEL, CHAMPION, number)
    return current(tracker)


def _already(
    candidate: Arm, champion: Version, evidence: Evidence, tracker: Tracker, release: Release | None
) -> Result:
    """Nothing to decide; but a release that was cut off after its aliases moved is brought to its end."""
    if release is not None:
        finish(release, champion)
        champion = current(tracker)
    reason = f"{candidate.name} is already champion, as version {champion.number}"
    evidence.context.progress.say(reason)
    evidence.keep_or_write(reason)
    return Result("already champion", reason, candidate.name, champion, None)


def _register(candidate: Arm, decision: Decision, proof: str, tracker: Tracker, release: Release | None) -> int:
    """The candidate's version, with all that is known of where it comes from."""
    scored = read_manifest(candidate.test)
    tags = {"arm": candidate.name, "evidence": proof, "gate": decision.reason, "evaluation": scored.digest}
    if candidate.test_run_id:
        tags["evaluation_run"] = candidate.test_run_id
    if release is not None and release.target.image:
        tags[IMAGE_TAG] = release.target.image
    if decision.override:
        tags["override"] = decision.override
    number = tracker.register(MODEL, candidate.model.uri, candidate.model.digest, candidate.run_id, tags)
    registry.propose(tracker, number)
    return number


def _try_out(
    config: PromotionConfig,
    candidate: Arm,
    number: int,
    pictures: Sequence[Golden],
    context: Context,
    store: Store,
    cluster: Cluster,
) -> None:
    context.progress.say(f"serving version {number} to ask it for {len(pictures)} golden pictures")
    with cluster.serving(store.get(candidate.model)) as url:
        answered = golden.ask(cluster, url, pictures, config.golden_share)
    context.progress.say(answered.told)


def _roll_out(release: Release, version: Version, champion: Version, proof: str, wishes: Wishes) -> None:
    """Release the version; its tag says how that ended."""
    key = key_of(version.digest, proof)
    try:
        record = roll_out(release, version, champion, key, again=wishes.again, downtime=wishes.downtime)
    except GateRefused as refused:
        registry.settle(release.tracker, registry.numbers(release.tracker))  # nobody is candidate any more
        _tag(release.tracker, version, {"release": str(refused)})
        raise
    _tag(release.tracker, version, {"release": f"released {record.notes[-1]['time']}"})


def _tag(tracker: Tracker, version: Version, tags: Mapping[str, str]) -> None:
    tracker.register(MODEL, version.uri, version.digest, version.run_id, tags)


def _test_of(champion: Version, inputs: Inputs) -> Path:
    """The champion's test evaluation: this run's own where it is one of its models, else made now."""
    for arm in (inputs.base, *inputs.arms):
        if arm.model.digest == champion.digest:
            return arm.test
    return inputs.evaluate_champion(champion)
