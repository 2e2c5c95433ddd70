"""The stages of a search: the trials, their scores on validation, the choice, and the choice over its seeds on test."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepperception.artifacts import Manifest, Outcome, Ref, once, read_metrics
from deepperception.artifacts.disk import discard, write_text
from deepperception.artifacts.evaluations import METRICS
from deepperception.artifacts.manifest import MANIFEST, read_manifest
from deepperception.errors import InfrastructureError
from deepperception.platform.workplace import BORROWED, Metadata, Workplace, folder_of, record_of, reference
from deepperception.search.page import replication_page, selection_page
from deepperception.search.replicate import replicated
from deepperception.search.select import ARMS, Score, Scored, choose, siblings, table
from deepperception.search.trials import Trial, trials_of
from deepperception.tracking import Recorder

PAGE, TABLE, OVER_SEEDS = "page.html", "trials.json", "over_seeds.json"
COLD_STARTS = ("sft", "cot_sft")
Outputs = dict[str, dict[str, Any]]


def plan(place: Workplace) -> Outputs:
    """Names the trials: what a loop of the pipeline runs over."""
    trials = trials_of(place.recipe)
    place.progress.say(f"{len(trials)} trials: {', '.join(trial.name for trial in trials)}")
    return {"trials": {"metadata": {"each": [trial.to_json() for trial in trials]}}}


def borrow(place: Workplace) -> None:
    """Take what another trial has finished and this one would only repeat: a cold start that the grid leaves alone.

    The stage itself looks at what is there, as always, and makes it anew where it is not the same after all.
    """
    out = place.folder(place.stage)
    if place.trial is None or place.stage not in COLD_STARTS or out.exists():
        return
    context = place.context("sft")
    for finished in sorted(out.parent.parent.glob(f"*/{place.stage}/{MANIFEST}")):
        there = read_manifest(finished.parent)
        wanted = {**context.inputs, "arm": place.stage}
        if (there.recipe_hash, there.seed, dict(there.inputs)) == (context.recipe_hash, context.seed, wanted):
            copy = out.with_name(f"{out.name}{BORROWED}")
            discard(copy)
            shutil.copytree(finished.parent, copy)
            os.rename(copy, out)
            place.progress.say(f"taken from the trial {finished.parent.parent.name}, whose cold start is the same")
            return


def exam(place: Workplace) -> Outputs:
    """One model on one split."""
    from deepperception.evaluation.run import evaluate_model

    split = place.stage.rpartition("-")[2]
    config, out, context = place.recipe.evaluation, place.folder(place.stage), place.context("evaluation")
    evaluate_model(config, place.fetch("data") / f"{split}.parquet", place.fetch("model"), out, context)
    kept = place.keep(place.stage, out, params=config.model_dump(mode="json"), files=[METRICS])
    # Loops hand their results on in any order: each says whose it is.
    whose = {"trial": place.trial.name} if place.trial else {}
    return {"scores": {"metadata": {**kept, "model": place.inputs["model"], **whose}}}


def selection(place: Workplace) -> Outputs:
    """Chooses the best trial on validation, and hands on its models as those of the run."""
    scores = {trial.name: _scores_of(place, trial) for trial in trials_of(place.recipe)}
    trials = [
        Scored(trial, {arm: _score(place, scored) for arm, scored in scores[trial.name].items()})
        for trial in trials_of(place.recipe)
    ]
    out, content, best = place.folder("selection"), table(trials), choose(trials)
    digests = {f"{name}.{arm}": scored["digest"] for name, arms in scores.items() for arm, scored in arms.items()}
    _made(place, out, "selection", digests, {TABLE: _json(content), PAGE: selection_page(place.recipe.name, content)},
          counts={"trials": len(trials)}, metrics={"accuracy": best.accuracy})  # fmt: skip
    place.progress.say(f"{best.trial.name} has the best model on validation: {best.best_arm}, {best.accuracy:.3f}")
    _end_trials(place, trials)
    kept = place.keep("selection", out, files=[TABLE, PAGE])
    chosen: Outputs = {}
    for arm, scored in scores[best.trial.name].items():
        chosen[arm] = {"metadata": scored["model"]}
        chosen[f"{arm}_validation"] = {"metadata": scored}
    told = {**kept, "trials": len(trials), "chosen": best.trial.name, "arm": best.best_arm}
    return {**chosen, "table": {"metadata": told}, "page": {"metadata": {}, "page": str(out / PAGE)}}


def replication(place: Workplace) -> Outputs:
    """Tests the chosen settings' other seeds, and tells how far they spread. Nothing is chosen by it any more."""
    content = json.loads((place.fetch("trials") / TABLE).read_text(encoding="utf-8"))
    tested = {arm: place.fetch(f"{arm}_test") for arm in ("base", *ARMS)}
    metrics = {arm: [read_metrics(folder)] for arm, folder in tested.items() if arm == "base"}
    seeds = siblings(content)
    for trial in seeds:
        own = trial["name"] == content["chosen"]
        folders = tested if own else {arm: _tested(place, trial, arm) for arm in ARMS}
        for arm in ARMS:
            metrics.setdefault(arm, []).append(read_metrics(folders[arm]))
    told = {"label": seeds[0]["label"], "settings": seeds[0]["settings"], "seeds": [trial["seed"] for trial in seeds]}
    told |= {"chosen": content["chosen"], "stages": replicated(metrics)}
    out = place.folder("replication")
    means = {f"{arm}.accuracy": told["stages"][arm]["all"]["accuracy"] for arm in metrics}
    spreads = {f"{arm}.sd": told["stages"][arm]["all"]["sd"] for arm in ARMS if len(seeds) > 1}
    digests = {f"{trial['name']}.{arm}": trial["validation"][arm]["model"] for trial in seeds for arm in ARMS}
    inputs = {**digests, "selection": place.inputs["trials"]["digest"]}
    _made(place, out, "replication", inputs,
          {OVER_SEEDS: _json(told), PAGE: replication_page(place.recipe.name, told)},
          counts={"seeds": len(seeds)}, metrics={**means, **spreads})  # fmt: skip
    kept = place.keep("replication", out, files=[OVER_SEEDS, PAGE])
    return {"scores": {"metadata": kept}, "page": {"metadata": {}, "page": str(out / PAGE)}}


def _scores_of(place: Workplace, trial: Trial) -> dict[str, Metadata]:
    """By arm: what its exam handed on."""
    found = {
        arm: next((each for each in place.inputs[arm]["each"] if each.get("trial") == trial.name), None) for arm in ARMS
    }
    missing = [arm for arm, scored in found.items() if scored is None]
    if missing:
        raise InfrastructureError(f"the trial {trial.name} left no scores of {', '.join(missing)}; run again.")
    return {arm: scored for arm, scored in found.items() if scored is not None}


def _score(place: Workplace, scored: Metadata) -> Score:
    return Score.of(read_metrics(place.store.get(reference(scored))), scored["model"]["digest"])


def _end_trials(place: Workplace, trials: list[Scored]) -> None:
    """A trial's record is closed by the step that knows that all of it is there."""
    infra = place.infra
    for scored in trials:
        pipeline = record_of(place.whole, scored.trial)
        recorder = Recorder(
            infra.tracking_uri, infra.experiment, infra.work_dir, pipeline, place.stage, place.progress.say
        )
        recorder.finish(metrics={f"{arm}.validation": score.accuracy for arm, score in scored.scores.items()})


def _tested(place: Workplace, trial: Mapping[str, Any], arm: str) -> Path:
    """The evaluation of a trial's model on test, beside the trial's other artifacts."""
    from deepperception.evaluation.run import evaluate_model

    known = Trial(trial["name"], trial["seed"], trial["settings"])
    out = folder_of(place.infra, known) / f"evaluation-{arm}-test"
    # Stores find an artifact by its digest alone.
    model = place.store.get(Ref(place.infra.store, trial["validation"][arm]["model"]))
    context = place.context("evaluation")
    evaluate_model(place.recipe.evaluation, place.fetch("data") / "test.parquet", model, out, context)
    return out


def _made(
    place: Workplace,
    out: Path,
    kind: str,
    inputs: Mapping[str, str],
    files: Mapping[str, str],
    *,
    counts: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Manifest:
    def build(folder: Path) -> Outcome:
        for name, text in files.items():
            write_text(folder / name, text)
        return Outcome(counts=counts, metrics=metrics)

    context = place.context("name", "search")
    return once(
        out,
        kind=kind,
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs=inputs,
        progress=context.progress,
        build=build,
    )


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
