"""The steps of a search, as far as they go without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import read_manifest, seal
from deepperception.artifacts.evaluations import METRICS
from deepperception.errors import InfrastructureError
from deepperception.infra import Infra
from deepperception.platform import stages, steps
from deepperception.platform.search_stages import PAGE, TABLE, borrow
from deepperception.platform.stages import execute
from deepperception.platform.status import finished_stages
from deepperception.platform.workplace import Workplace
from deepperception.recipe import Recipe
from deepperception.search.trials import Trial, trials_of, with_seeds
from deepperception.tracking import Tracker

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

ARMS = ("sft", "cot_sft", "grpo")


@dataclass
class Artifact:
    """As KFP gives it to a component."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def searched(recipe: Recipe) -> Recipe:
    content = {**recipe.model_dump(mode="json"), "search": {"grid": {"grpo.learning_rate": [1e-6, 2e-6]}}}
    return with_seeds(Recipe.model_validate(content), [0, 1], where="here")


def of(trial: Trial) -> dict[str, Any]:
    return json.loads(trial.to_json())


@pytest.fixture
def examined(searched: Recipe, infra: Infra) -> Callable[[Trial, str, float], dict[str, Any]]:
    """What the exam of a trial's arm hands on, for an accuracy."""

    def hand_on(trial: Trial, arm: str, accuracy: float) -> dict[str, Any]:
        inputs = {"trial": of(trial)}
        place = Workplace(f"evaluation-{arm}-validation", searched, infra, inputs)
        folder = place.folder(place.stage)
        folder.mkdir(parents=True)
        score = {"accuracy": accuracy, "accuracy_ci95": [0.0, 1.0], "cases": 50}
        (folder / METRICS).write_text(json.dumps({"benchmark": {}, "backend": {}, "official": {"all": score}}))
        seal(folder, kind="evaluation", recipe_hash="sha256:r", seed=trial.seed, inputs={}, metrics={"all": accuracy})
        kept = place.keep(place.stage, folder)
        model = {"uri": "file:///model", "digest": f"sha256:{trial.name}.{arm}", "run_id": ""}
        return {**kept, "model": model, "trial": trial.name}

    return hand_on


def select(searched: Recipe, infra: Infra, scores: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    inputs = {arm: {"each": each} for arm, each in scores.items()}
    return execute("selection", searched.to_json(), infra.to_json(), searched.seed, inputs)


def test_the_plan_is_the_recipes_trials(searched: Recipe, infra: Infra) -> None:
    outputs = execute("plan", searched.to_json(), infra.to_json(), searched.seed, {})
    planned = [Trial.from_json(text) for text in outputs["trials"]["metadata"]["each"]]
    assert planned == trials_of(searched)


def test_a_trial_has_its_own_recipe_and_folder_and_nothing_else_of_its_own(searched: Recipe, infra: Infra) -> None:
    first, *_, last = trials_of(searched)
    places = [Workplace("grpo", searched, infra, {"trial": of(trial)}) for trial in (first, last)]
    assert [place.recipe.grpo.learning_rate for place in places] == [1e-6, 2e-6]
    assert [place.recipe.seed for place in places] == [0, 1]
    assert places[0].folder("grpo") == infra.work_dir / "trials" / first.name / "grpo"
    assert places[0].folder("grpo") != places[1].folder("grpo")
    assert "trial" not in places[0].inputs


def test_the_best_on_validation_goes_on_whatever_the_order_of_the_results(
    searched: Recipe, infra: Infra, examined: Callable[..., dict[str, Any]]
) -> None:
    trials = trials_of(searched)
    accuracy = {trial.name: 0.4 + 0.1 * number for number, trial in enumerate(trials)}
    accuracy[trials[3].name] = accuracy[trials[2].name]  # a tie: the first of them
    scores = {
        arm: [
            examined(trial, arm, accuracy[trial.name] - 0.01 * place) for trial in (trials[::-1] if place else trials)
        ]
        for place, arm in enumerate(ARMS)
    }
    outputs = select(searched, infra, scores)
    best = trials[2].name
    for arm in ARMS:
        assert outputs[arm]["metadata"]["digest"] == f"sha256:{best}.{arm}"
        assert outputs[f"{arm}_validation"]["metadata"]["trial"] == best
    told = outputs["table"]["metadata"]
    assert (told["chosen"], told["arm"], told["trials"]) == (best, "sft", 4)
    table = json.loads((infra.work_dir / "selection" / TABLE).read_text())
    assert [trial["name"] for trial in table["trials"]] == [trial.name for trial in trials]
    assert Path(outputs["page"]["page"]) == infra.work_dir / "selection" / PAGE
    again = select(searched, infra, scores)
    assert again["table"]["metadata"]["digest"] == told["digest"]


def test_every_trial_is_a_run_below_the_recipes_and_closed_by_the_choice(
    searched: Recipe, infra: Infra, examined: Callable[..., dict[str, Any]]
) -> None:
    trials = trials_of(searched)
    scores = {arm: [examined(trial, arm, 0.5) for trial in trials] for arm in ARMS}
    tracker = Tracker(infra.tracking_uri, infra.experiment)
    assert {run.info.status for run in runs(tracker, "tags.trial LIKE '%'")} == {"RUNNING"}
    select(searched, infra, scores)
    own = runs(tracker, "tags.trial LIKE '%'")
    assert sorted(run.info.run_name for run in own) == sorted(trial.name for trial in trials)
    assert {run.info.status for run in own} == {"FINISHED"}
    assert own[0].data.metrics == {f"{arm}.validation": 0.5 for arm in ARMS}
    (top,) = runs(tracker, f"run_name = '{searched.name}'")
    assert {run.data.tags["mlflow.parentRunId"] for run in own} == {top.info.run_id}
    below = runs(tracker, f"tags.`mlflow.parentRunId` = '{own[0].info.run_id}'")
    assert sorted(run.info.run_name for run in below) == sorted(f"evaluation-{arm}-validation" for arm in ARMS)


def runs(tracker: Tracker, wanted: str) -> list[Any]:
    return list(tracker._client.search_runs([tracker.runs.experiment_id], wanted))


def test_a_trial_without_scores_is_not_left_out_in_silence(
    searched: Recipe, infra: Infra, examined: Callable[..., dict[str, Any]]
) -> None:
    trials = trials_of(searched)
    scores = {arm: [examined(trial, arm, 0.5) for trial in trials] for arm in ARMS}
    scores["grpo"].pop()
    with pytest.raises(InfrastructureError, match=rf"{trials[-1].name} left no scores of grpo"):
        select(searched, infra, scores)


def test_a_cold_start_that_the_grid_leaves_alone_is_taken_from_another_trial(searched: Recipe, infra: Infra) -> None:
    first, other_seed, same_seed, _ = trials_of(searched)
    inputs = {"model": {"uri": "", "digest": "sha256:m"}, "data": {"uri": "", "digest": "sha256:d"}}
    made = Workplace("sft", searched, infra, {**inputs, "trial": of(first)})
    folder = made.folder("sft")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    context = made.context("sft")
    seal(folder, kind="model", recipe_hash=context.recipe_hash, seed=0, inputs={**context.inputs, "arm": "sft"})

    for trial, taken in ((same_seed, True), (other_seed, False)):
        place = Workplace("sft", searched, infra, {**inputs, "trial": of(trial)})
        borrow(place)
        assert place.folder("sft").exists() == taken
    assert read_manifest(infra.work_dir / "trials" / same_seed.name / "sft") == read_manifest(folder)
    assert set(finished_stages(infra.work_dir)) == {f"trials/{trial.name}/sft" for trial in (first, same_seed)}


def test_trials_do_not_take_each_others_word_for_a_failure(
    searched: Recipe, infra: Infra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepperception.errors import InputError

    monkeypatch.setenv("DEEPPERCEPTION_RUN", "flow-1")
    calls: list[str] = []

    def fails_once(**call: Any) -> dict[str, Any]:
        calls.append(call["inputs"]["trial"]["name"])
        if len(calls) == 1:
            raise InputError("a sentence.")
        return {"policy": {"metadata": {"uri": "", "digest": ""}}}

    monkeypatch.setattr(stages, "execute", fails_once)
    first, second, *_ = trials_of(searched)

    def step(trial: Trial) -> None:
        outputs = {"policy": Artifact(str(tmp_path / "policy"))}
        steps.run_step("grpo", searched.to_json(), infra.to_json(), 0, outputs=outputs, trial=trial.to_json())

    with pytest.raises(SystemExit):
        step(first)
    step(second)
    with pytest.raises(SystemExit):
        step(first)
    assert calls == [first.name, second.name]
    told = json.loads((infra.work_dir / steps.FAILURE).read_text())
    assert told["stage"] == f"{first.name}.grpo"


def test_lists_of_artifacts_arrive_as_their_metadata(
    searched: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(stages, "execute", lambda **call: seen.append(call["inputs"]) or {})
    artifacts = [Artifact("a", {"uri": "1"}), Artifact("b", {"uri": "2"})]
    steps.run_step("selection", searched.to_json(), infra.to_json(), 0, outputs={}, inputs={"grpo": artifacts})
    assert seen == [{"grpo": {"each": [{"uri": "1"}, {"uri": "2"}]}}]
