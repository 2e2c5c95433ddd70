"""Promotion of a single model, outside of a pipeline: a checkpoint and its evaluation against the champion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepperception.artifacts import (
    Context,
    Ref,
    Store,
    open_store,
    payload_digest,
    read_manifest,
    read_metrics,
    resolve,
)
from deepperception.errors import InputError
from deepperception.evaluation.answers import file_digest
from deepperception.evaluation.run import evaluate_model
from deepperception.infra import Infra
from deepperception.platform.local_server import LocalServer
from deepperception.platform.release import foreseen, open_release
from deepperception.progress import Progress
from deepperception.promotion import CHAMPION, Arm, Inputs, Result, Wishes, budgets, decide, run
from deepperception.promotion.criteria import evidence as evidence_criterion
from deepperception.promotion.criteria import leakage
from deepperception.recipe import Recipe
from deepperception.tracking import MODEL, Tracker, Version


@dataclass(frozen=True)
class Foreseen:
    """What a trial says: the result there would be, and the objects that a release would write, in YAML."""

    result: Result
    objects: str = ""


def promote(
    recipe: Recipe,
    infra: Infra,
    model: str,
    evidence: Path,
    benchmark: Path | None,
    progress: Progress,
    *,
    wishes: Wishes | None = None,
    dataset: Path | None = None,
) -> Result:
    """Let `model` meet the champion on the benchmark of its evaluation `evidence`.

    The first champion is the recipe's base. What is not scored yet is scored in the work folder. Where the infra file
    names a place that serves, the winner is released there. InputError where there is no registry, the evaluation is
    of another model, or its benchmark is not found.
    """
    tracker = Tracker(infra.tracking_uri, infra.experiment, create=False, say=progress.say)
    store = open_store(infra.store, infra.s3, progress)
    meeting = _Meeting(recipe, infra, model, evidence, benchmark, progress, tracker, store)
    arm, first = meeting.arms(store.put)
    inputs = Inputs(
        base=first,
        arms=[arm],
        benchmark=meeting.cases,
        evaluate_champion=lambda champion: meeting.score(
            store.get(Ref(champion.uri, champion.digest)), champion.digest
        ),
        dataset=dataset or meeting.cases.parent,
    )
    out = infra.work_dir / f"promotion-{arm.model.digest[7:19]}"
    return run(
        recipe.promotion,
        inputs,
        out,
        meeting.context(arm),
        tracker=tracker,
        store=store,
        cluster=LocalServer(),
        release=open_release(infra, recipe.promotion, tracker, progress),
        wishes=wishes or Wishes(),
    )


def foresee(
    recipe: Recipe,
    infra: Infra,
    model: str,
    evidence: Path,
    benchmark: Path | None,
    progress: Progress,
    *,
    wishes: Wishes | None = None,
    dataset: Path | None = None,
) -> Foreseen:
    """As `promote`, but registry, store, service and cluster are only read."""
    wishes = wishes or Wishes()
    tracker = Tracker(infra.tracking_uri, infra.experiment, create=False, say=progress.say)
    store = open_store(infra.store, infra.s3, progress)
    meeting = _Meeting(recipe, infra, model, evidence, benchmark, progress, tracker, store)
    arm, first = meeting.arms(lambda folder: Ref(folder.absolute().as_uri(), payload_digest(folder)))
    there = meeting.champion or Version(0, first.model.uri, first.model.digest, None)
    if arm.model.digest == there.digest:
        return Foreseen(Result("already champion", "the same digest is champion", arm.name, there, None))
    models = {"candidate": arm.model, "champion": first.model}
    more = [
        leakage(dataset or meeting.cases.parent, recipe.promotion),
        evidence_criterion(arm.test, first.test, models, None),
        *budgets.judge(recipe.promotion, None),
    ]
    config, seed = recipe.promotion, recipe.seed
    decision = decide(arm.test, first.test, config, seed=seed, more=more, override=wishes.override)
    release = open_release(infra, config, tracker, progress)
    shown = ""
    if release is not None and decision.promote:
        # As it will lie in the store; it is not put there by a trial.
        kept = Ref(f"{infra.store.rstrip('/')}/sha256/{arm.model.digest[7:]}", arm.model.digest)
        shown = foreseen(release, Version(0, kept.uri, kept.digest, None), there, "", downtime=wishes.downtime)
    outcome: Literal["promoted", "refused"] = "promoted" if decision.promote else "refused"
    return Foreseen(Result(outcome, decision.reason, arm.name, there, decision), shown)


class _Meeting:
    """The two sides of a promotion outside of a pipeline, and where their scores are."""

    def __init__(
        self,
        recipe: Recipe,
        infra: Infra,
        model: str,
        evidence: Path,
        benchmark: Path | None,
        progress: Progress,
        tracker: Tracker,
        store: Store,
    ) -> None:
        self._recipe, self._infra, self._progress, self._store = recipe, infra, progress, store
        self._model, self._evidence = model, evidence
        self.champion = tracker.alias(MODEL, CHAMPION)
        self.cases = benchmark or _find_benchmark(evidence, infra.work_dir)

    def arms(self, kept: Callable[[Path], Ref]) -> tuple[Arm, Arm]:
        """The candidate, and the champion or else the recipe's base; what is not scored yet is scored."""
        candidate = kept(resolve(self._model, self._store))
        _check_about(self._evidence, self._model, candidate)
        if self.champion:
            against = Ref(self.champion.uri, self.champion.digest)
            folder = self._store.get(against)
        else:
            folder = resolve(self._recipe.model.base, self._store)
            against = kept(folder)
        scored = self._evidence if against.digest == candidate.digest else self.score(folder, against.digest)
        first = Arm("champion" if self.champion else "base", against, validation=scored, test=scored)
        return Arm("candidate", candidate, validation=self._evidence, test=self._evidence), first

    def score(self, folder: Path, digest: str) -> Path:
        """The evaluation of a checkpoint on the same cases, made where it is not there yet."""
        out = self._infra.work_dir / f"evaluation-{digest[7:19]}-{self.cases.stem}"
        evaluate_model(self._recipe.evaluation, self.cases, folder, out, self._context(digest))
        return out

    def context(self, arm: Arm) -> Context:
        return self._context(arm.model.digest)

    def _context(self, digest: str) -> Context:
        section = self._recipe.section_hash("promotion")
        return Context(self._recipe.seed, self._progress, section, {"model": digest})


def _check_about(evidence: Path, model: str, candidate: Ref) -> None:
    about = read_manifest(evidence).inputs.get("model")
    if about != candidate.digest:
        raise InputError(
            f"{evidence}: this is the evaluation of {about or 'no checkpoint'}, and {model} is {candidate.digest}; "
            "evaluate the model that is to be promoted."
        )


def _find_benchmark(evidence: Path, work_dir: Path) -> Path:
    """The dataset file in the work folder that the evaluation was made on."""
    wanted = read_metrics(evidence)["benchmark"]
    for path in sorted(work_dir.glob("*/*.parquet")):
        if path.name == wanted["file"] and file_digest(path) == wanted["digest"]:
            return path
    raise InputError(f"{evidence}: its benchmark {wanted['file']} is not in {work_dir}; give it with --benchmark.")
