"""Promotion of a single model, outside of a pipeline: a checkpoint and its evaluation against the champion."""

from __future__ import annotations

from pathlib import Path

from deepperception.artifacts import Context, Ref, open_store, payload_digest, read_manifest, read_metrics, resolve
from deepperception.errors import InputError
from deepperception.evaluation.answers import file_digest
from deepperception.evaluation.run import evaluate_model
from deepperception.infra import Infra
from deepperception.platform.local_server import LocalServer
from deepperception.progress import Progress
from deepperception.promotion import CHAMPION, Arm, Inputs, Result, decide, run
from deepperception.recipe import Recipe
from deepperception.tracking import MODEL, Tracker, Version


def promote(
    recipe: Recipe,
    infra: Infra,
    model: str,
    evidence: Path,
    benchmark: Path | None,
    progress: Progress,
    *,
    dry_run: bool,
) -> Result:
    """Let `model` meet the champion on the benchmark of its evaluation `evidence`.

    The first champion is the recipe's base. What is not scored yet is scored in the work folder. With `dry_run`
    registry, store and service are left alone. InputError where there is no registry, the evaluation is of another
    model, or its benchmark is not found.
    """
    tracker = Tracker(infra.tracking_uri, infra.experiment, create=False, say=progress.say)
    store = open_store(infra.store, infra.s3, progress)

    def kept(folder: Path) -> Ref:
        return Ref(folder.absolute().as_uri(), payload_digest(folder)) if dry_run else store.put(folder)

    candidate = kept(resolve(model, store))
    _check_about(evidence, model, candidate)
    cases = benchmark or _find_benchmark(evidence, infra.work_dir)
    context = Context(recipe.seed, progress, recipe.section_hash("promotion"), {"model": candidate.digest})

    def score(folder: Path, digest: str) -> Path:
        out = infra.work_dir / f"evaluation-{digest[7:19]}-{cases.stem}"
        evaluate_model(recipe.evaluation, cases, folder, out, context)
        return out

    def score_champion(champion: Version) -> Path:
        return score(store.get(Ref(champion.uri, champion.digest)), champion.digest)

    if champion := tracker.alias(MODEL, CHAMPION):
        against = Ref(champion.uri, champion.digest)
        folder = store.get(against)
    else:
        folder = resolve(recipe.model.base, store)
        against = kept(folder)
    scored = evidence if against.digest == candidate.digest else score(folder, against.digest)
    first = Arm("champion" if champion else "base", against, validation=scored, test=scored)
    arm = Arm("candidate", candidate, validation=evidence, test=evidence)
    if dry_run:
        return _foreseen(arm, first, recipe, champion)
    inputs = Inputs(base=first, arms=[arm], benchmark=cases, evaluate_champion=score_champion)
    out = infra.work_dir / f"promotion-{candidate.digest[7:19]}"
    return run(recipe.promotion, inputs, out, context, tracker=tracker, store=store, cluster=LocalServer())


def _foreseen(arm: Arm, first: Arm, recipe: Recipe, champion: Version | None) -> Result:
    there = champion or Version(0, first.model.uri, first.model.digest, None)
    if arm.model.digest == there.digest:
        return Result("already champion", "the same digest is champion", arm.name, there, None)
    decision = decide(arm.test, first.test, recipe.promotion, seed=recipe.seed)
    return Result("promoted" if decision.promote else "refused", decision.reason, arm.name, there, decision)


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
