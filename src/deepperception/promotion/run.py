"""Promotion: the best arm meets the champion, and takes its place only when evidence and service both hold.

The order is the point: evidence is written, the version registered, its service checked, and the alias, which is what
everybody else goes by, moved last. Every step may be repeated, so a run that was killed anywhere is simply run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from deepperception.artifacts import Context, Outcome, Ref, Store, once, payload_digest, read_metrics
from deepperception.artifacts.disk import write_text
from deepperception.errors import InputError
from deepperception.promotion import golden
from deepperception.promotion.cluster import Cluster
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.gate import Decision, decide
from deepperception.tracking import MODEL, Tracker, Version

CHAMPION, PREVIOUS = "champion", "previous"
DECISION = "decision.json"


@dataclass(frozen=True)
class Arm:
    """One model of the run, with its scores."""

    name: str
    model: Ref
    validation: Path
    """Evaluation folder; chooses among the arms."""
    test: Path
    """Evaluation folder; confirms the choice."""
    run_id: str | None = None
    """Of the tracked stage run that made the model."""


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
) -> Result:
    """Let the best arm replace the champion, if the gate and the service allow it. Evidence goes to `out`.

    A refusal by the gate is a result; GateRefused is for a service that does not do what evaluation saw.
    """
    champion = _champion(inputs.base, tracker)
    candidate = best(inputs.arms)
    evidence = _Evidence(out, context, inputs.arms, candidate, champion)
    if candidate.model.digest == champion.digest:
        reason = f"{candidate.name} is already champion, as version {champion.number}"
        context.progress.say(reason)
        evidence.keep_or_write(reason)
        return Result("already champion", reason, candidate.name, champion, None)

    decision = evidence.write(config, _test_of(champion, inputs))
    context.progress.say(f"{candidate.name} against version {champion.number}: {decision.reason}")
    if not decision.promote:
        return Result("refused", decision.reason, candidate.name, champion, decision)

    tags = {"arm": candidate.name, "evidence": store.put(out).digest, "gate": decision.reason}
    number = tracker.register(MODEL, candidate.model.uri, candidate.model.digest, candidate.run_id, tags)
    pictures = golden.choose(candidate.validation, inputs.benchmark, config.golden)
    context.progress.say(f"serving version {number} to ask it for {len(pictures)} golden pictures")
    with cluster.serving(store.get(candidate.model)) as url:
        right = golden.check(cluster, url, pictures, config.golden_share)
    tracker.set_alias(MODEL, PREVIOUS, champion.number)
    tracker.set_alias(MODEL, CHAMPION, number)
    context.progress.say(
        f"version {number} ({candidate.name}) is champion; {right} of {len(pictures)} golden pictures right"
    )
    return Result("promoted", decision.reason, candidate.name, current(tracker), decision)


def best(arms: Sequence[Arm]) -> Arm:
    """The arm with the highest validation accuracy; of equals the first."""
    if not arms:
        raise InputError("there is no candidate to promote; give at least one model with its evaluations.")
    return max(arms, key=lambda arm: _accuracy(arm.validation))


def current(tracker: Tracker) -> Version:
    """The champion; InputError where nothing was ever promoted."""
    champion = tracker.alias(MODEL, CHAMPION)
    if champion is None:
        raise InputError(f"{tracker.uri}: no version of {MODEL} is champion; run a recipe there first.")
    return champion


def read_evidence(folder: Path) -> dict[str, Any]:
    """The content of `decision.json`."""
    try:
        evidence: dict[str, Any] = json.loads((folder / DECISION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / DECISION}: the evidence cannot be read ({error}); promote again.") from None
    return evidence


def tells_of_promotion(evidence: Mapping[str, Any], digest: str) -> bool:
    """Whether this is the evidence that the model with this digest was promoted on."""
    decision = evidence["decision"]
    return evidence["candidate"]["digest"] == digest and decision is not None and bool(decision["promote"])


@dataclass(frozen=True)
class _Evidence:
    """The artifact that says who met whom, and how it went. It names digests: version numbers are the registry's."""

    out: Path
    context: Context
    arms: Sequence[Arm]
    candidate: Arm
    champion: Version

    def write(self, config: PromotionConfig, champion_test: Path) -> Decision:
        """Decide, and write the decision down; or read it, where it was made on the same evaluations."""

        def build(folder: Path) -> Outcome:
            decision = decide(self.candidate.test, champion_test, config, seed=self.context.seed)
            return self._fill(folder, decision.reason, decision)

        self._once(build, {"champion.test": payload_digest(champion_test)})
        kept = read_evidence(self.out)["decision"]
        return Decision(**{**kept, "gain_ci95": tuple(kept["gain_ci95"])})

    def keep_or_write(self, reason: str) -> None:
        """Leave the evidence of the champion's own promotion; without it, write that nothing was decided."""
        if not self._is_of_own_promotion():
            self._once(lambda folder: self._fill(folder, reason, None), {})

    def _is_of_own_promotion(self) -> bool:
        try:
            return tells_of_promotion(read_evidence(self.out), self.candidate.model.digest)
        except InputError:  # none there, or not whole
            return False

    def _once(self, build: Callable[[Path], Outcome], more_inputs: Mapping[str, str]) -> None:
        inputs = {"candidate": self.candidate.model.digest, "champion": self.champion.digest, **more_inputs}
        for arm in self.arms:
            inputs |= {
                f"{arm.name}.validation": payload_digest(arm.validation),
                f"{arm.name}.test": payload_digest(arm.test),
            }
        once(
            self.out,
            kind="promotion",
            recipe_hash=self.context.recipe_hash,
            seed=self.context.seed,
            inputs=inputs,
            progress=self.context.progress,
            build=build,
        )

    def _fill(self, folder: Path, reason: str, decision: Decision | None) -> Outcome:
        content = {
            "candidate": {"arm": self.candidate.name, "digest": self.candidate.model.digest},
            "champion": {"digest": self.champion.digest},
            "validation": {arm.name: _accuracy(arm.validation) for arm in self.arms},
            "reason": reason,
            "decision": None if decision is None else asdict(decision),
        }
        write_text(folder / DECISION, json.dumps(content, indent=2) + "\n")
        return Outcome(metrics={} if decision is None else {"gain": decision.gain, "p": decision.p})


def _champion(base: Arm, tracker: Tracker) -> Version:
    """The champion; the base takes the place where it is empty, so that the first candidate has something to beat."""
    if champion := tracker.alias(MODEL, CHAMPION):
        return champion
    number = tracker.register(MODEL, base.model.uri, base.model.digest, base.run_id, {"arm": base.name})
    tracker.set_alias(MODEL, CHAMPION, number)
    return current(tracker)


def _test_of(champion: Version, inputs: Inputs) -> Path:
    """The champion's test evaluation: this run's own where it is one of its models, else made now."""
    for arm in (inputs.base, *inputs.arms):
        if arm.model.digest == champion.digest:
            return arm.test
    return inputs.evaluate_champion(champion)


def _accuracy(evaluation: Path) -> float:
    return float(read_metrics(evaluation)["official"]["all"]["accuracy"])
