"""The stages as a pipeline runs them: inputs out of the store, one stage, its artifact into the store and on record.

What a stage needs is imported where it runs: most steps need no torch, and some no MLflow.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.infra_pools import layout_of
from deepperception.platform import search_stages
from deepperception.platform.ending import ending
from deepperception.platform.preflight import preflight
from deepperception.platform.workplace import Metadata, Workplace, reference
from deepperception.recipe import Recipe

if TYPE_CHECKING:
    from deepperception.artifacts import Outcome
    from deepperception.promotion import Arm
    from deepperception.tracking import Version

ARMS = {"base": "base", "sft": "direct SFT", "cot_sft": "CoT-SFT", "grpo": "GRPO"}
"""The models of a run, in the order of the recipe, and what they are called in tables."""
SPLITS = ("validation", "test")

Outputs = dict[str, dict[str, Any]]
"""By output name: {"metadata": Metadata} and, where the output is a page, {"page": path}."""


def execute(stage: str, recipe: str, infra: str, seed: int, inputs: dict[str, Metadata]) -> Outputs:
    """Run one step. `recipe` and `infra` are JSON; `seed` takes the place of the recipe's own."""
    settings = Recipe.from_json(recipe).model_copy(update={"seed": seed})
    place = Workplace(stage, settings, Infra.from_json(infra), inputs)
    place.progress.say("started")
    search_stages.borrow(place)
    if layout_of(place.infra, stage).processes > 1:
        from deepperception.platform.trainjob.launch import launch

        outputs = launch(place)
    else:
        outputs = perform(place)
    place.progress.say(f"done in {place.elapsed_s:.0f} s")
    return outputs


def perform(place: Workplace) -> Outputs:
    """Do here what the stage does, in this process alone or as one of several."""
    place.begin()
    return _STAGES[place.stage](place)


def _base(place: Workplace) -> Outputs:
    from deepperception.artifacts import check_checkpoint, hub, once, payload_digest, resolve

    model = place.recipe.model
    imported = model.base.startswith(hub.SCHEME)
    source = hub.fetch(hub.HubRef.parse(model.base)) if imported else resolve(model.base, place.store)
    check_checkpoint(source)

    def build(folder: Path) -> Outcome:
        return _take_in(source, folder, place)

    out, context = place.folder("base"), place.context("model")
    once(
        out,
        kind="model",
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs={"checkpoint": payload_digest(source)},
        progress=context.progress,
        build=build,
    )
    return {"model": {"metadata": place.keep("base", out, params=model.model_dump(mode="json"))}}


def _take_in(source: Path, folder: Path, place: Workplace) -> Outcome:
    """Copy the checkpoint; the recipe says how it is asked, and the checkpoint itself which prompt it was made for."""
    from deepperception.artifacts import Interface, Outcome, read_interface, write_interface
    from deepperception.artifacts.manifest import MANIFEST

    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    asked = place.recipe.model.model_dump(exclude={"base"})
    write_interface(folder, Interface(prompt=read_interface(source).prompt, **asked))
    return Outcome(counts={"bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())})


def _synthesis(place: Workplace) -> Outputs:
    from deepperception.synthesis.run import run

    out, recipe = place.folder("synthesis"), place.recipe
    run(recipe.synthesis, out, place.context("synthesis", "model"), box_step=recipe.model.box_step)
    params = recipe.synthesis.model_dump(mode="json")
    return {"data": {"metadata": place.keep("synthesis", out, params=params, files=["card.json", "contact_sheet.png"])}}


def _sft(place: Workplace) -> Outputs:
    from deepperception.sft.run import run

    out, config = place.folder(place.stage), place.recipe.sft
    arm: Any = place.stage
    run(config, arm=arm, model=place.fetch("model"), data=place.fetch("data"), out=out, context=place.context("sft"))
    return {"policy": {"metadata": place.keep(place.stage, out, params=config.model_dump(mode="json"))}}


def _grpo(place: Workplace) -> Outputs:
    from deepperception.grpo.run import run

    out, config = place.folder("grpo"), place.recipe.grpo
    run(config, model=place.fetch("model"), data=place.fetch("data"), out=out, context=place.context("grpo"))
    return {"policy": {"metadata": place.keep("grpo", out, params=config.model_dump(mode="json"))}}


def _evaluation(place: Workplace) -> Outputs:
    from deepperception.artifacts.evaluations import METRICS
    from deepperception.evaluation.page import PAGE, page_writer
    from deepperception.evaluation.run import evaluate_model

    config, model, data = place.recipe.evaluation, place.fetch("model"), place.fetch("data")
    outputs: Outputs = {}
    for split in SPLITS:
        name, file = f"{place.stage}-{split}", data / f"{split}.parquet"
        # Validation only chooses: what people look at is the test.
        page = page_writer(ARMS[place.stage.removeprefix("evaluation-")], file) if split == "test" else None
        evaluate_model(config, file, model, place.folder(name), place.context("evaluation"), finish=page)
        shown = [METRICS, PAGE] if page else [METRICS]
        kept = place.keep(name, place.folder(name), params=config.model_dump(mode="json"), files=shown)
        # Scores travel with the model that they are of.
        outputs[split] = {"metadata": {**kept, "model": place.inputs["model"]}}
        if page:
            outputs["page"] = {"metadata": {}, "page": str(place.folder(name) / PAGE)}
    return outputs


def _scoring(place: Workplace) -> Outputs:
    from deepperception.artifacts import Ref
    from deepperception.artifacts.choice_rows import holds_choices
    from deepperception.artifacts.evaluations import METRICS
    from deepperception.evaluation.choices import evaluate_model_on_choices
    from deepperception.evaluation.page import PAGE, page_writer
    from deepperception.evaluation.run import evaluate_model

    reference = Ref.parse(place.inputs["benchmark"]["reference"])
    files = sorted(place.store.get(reference).glob("*.parquet"))
    if len(files) != 1:
        raise InputError(f"{reference}: it holds {len(files)} parquet files; a benchmark is one.")
    config, out = place.recipe.evaluation, place.folder("scoring")
    score = evaluate_model_on_choices if holds_choices(files[0]) else evaluate_model
    page = page_writer(place.recipe.model.base, files[0])
    score(config, files[0], place.fetch("model"), out, place.context("evaluation"), finish=page)
    kept = place.keep("scoring", out, params=config.model_dump(mode="json"), files=[METRICS, PAGE])
    return {"scores": {"metadata": kept}, "page": {"metadata": {}, "page": str(out / PAGE)}}


def _promotion(place: Workplace) -> Outputs:
    from deepperception.artifacts import Ref
    from deepperception.evaluation.run import evaluate_model
    from deepperception.platform.local_server import LocalServer
    from deepperception.platform.release import open_release
    from deepperception.promotion import Inputs, read_evidence, run, tells_of_promotion
    from deepperception.promotion.evidence import DECISION, PAGE

    recipe, data = place.recipe, place.fetch("data")

    def evaluate_champion(champion: Version) -> Path:
        out = place.folder("evaluation-champion-test")
        model = place.store.get(Ref(champion.uri, champion.digest))
        evaluate_model(recipe.evaluation, data / "test.parquet", model, out, place.context("evaluation"))
        return out

    place.records.settle()  # the gate asks who is champion, and a version names the run that made it
    out = place.folder("promotion")
    result = run(
        recipe.promotion,
        Inputs(
            base=_arm(place, "base"),
            arms=[_arm(place, name) for name in ARMS if name != "base"],
            benchmark=data / "validation.parquet",
            evaluate_champion=evaluate_champion,
            dataset=data,
        ),
        out,
        place.context("promotion"),
        tracker=place.tracker,
        store=place.store,
        cluster=LocalServer(),
        release=open_release(place.infra, recipe.promotion, place.tracker, place.progress),
    )
    kept = place.keep("promotion", out, params=recipe.promotion.model_dump(mode="json"), files=[DECISION, PAGE])
    evidence = read_evidence(out)
    # Where a run is killed after the promotion, the next attempt meets its own model as champion: it was promoted here.
    here = result.outcome == "already champion" and tells_of_promotion(evidence, result.champion.digest)
    told = {
        "outcome": "promoted" if here else result.outcome,
        "reason": evidence["reason"],
        "candidate": result.candidate,
    }
    more = {"champion": asdict(result.champion), "pipeline_run_id": place.run_id}
    return {"decision": {"metadata": {**kept, **told, **more}}}


def _arm(place: Workplace, name: str) -> Arm:
    from deepperception.promotion import Arm

    scored = place.inputs[f"{name}_test"]["model"]
    return Arm(
        name=name,
        model=reference(scored),
        validation=place.fetch(f"{name}_validation"),
        test=place.fetch(f"{name}_test"),
        run_id=scored["run_id"] or None,
        test_run_id=place.inputs[f"{name}_test"].get("run_id") or None,
    )


def _report(place: Workplace) -> Outputs:
    from deepperception.artifacts import read_metrics
    from deepperception.evaluation import report
    from deepperception.promotion import read_evidence

    data, told = place.fetch("data"), place.inputs["decision"]
    tests = {arm: place.fetch(f"{arm}_test") for arm in ARMS}
    models = {arm: place.store.get(reference(place.inputs[f"{arm}_test"]["model"])) for arm in ARMS}
    inputs = report.Inputs(
        name=place.recipe.name,
        seed=place.recipe.seed,
        arms=[report.Arm(label, tests[arm], models[arm]) for arm, label in ARMS.items()],
        shown=ARMS[told["candidate"]],
        benchmark=data / "test.parquet",
        dataset=data,
        promotion=report.Promotion(
            outcome=told["outcome"],
            reason=told["reason"],
            candidate=ARMS[told["candidate"]],
            version=told["champion"]["number"],
            digest=told["champion"]["digest"],
            evidence=read_evidence(place.fetch("decision")),
        ),
    )
    out = place.folder("report")
    report.run(inputs, out, place.context("name"))
    page = out / report.REPORT
    place.keep("report", out, files=[path.name for path in sorted(out.glob("*.png"))])
    scores = {f"{arm}.accuracy": read_metrics(tests[arm])["official"]["all"]["accuracy"] for arm in ARMS}
    place.records.finish(metrics=scores, files=[page], tags={"data": place.inputs["data"]["digest"]})
    return {"page": {"metadata": {}, "page": str(page)}}


_STAGES: dict[str, Callable[[Workplace], Outputs]] = {
    "preflight": preflight,
    "ending": ending,
    "scoring": _scoring,
    "base": _base,
    "synthesis": _synthesis,
    "sft": _sft,
    "cot_sft": _sft,
    "grpo": _grpo,
    **{f"evaluation-{arm}": _evaluation for arm in ARMS},
    **{f"evaluation-{arm}-{split}": search_stages.exam for arm in ARMS for split in SPLITS},
    "plan": search_stages.plan,
    "selection": search_stages.selection,
    "replication": search_stages.replication,
    "promotion": _promotion,
    "report": _report,
}
