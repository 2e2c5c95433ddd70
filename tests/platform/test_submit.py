"""Handing the pipeline over, through KFP's own client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepperception.artifacts import Ref, open_store
from deepperception.errors import InfrastructureError, InputError
from deepperception.infra import Infra
from deepperception.platform.kubeflow import TOKEN
from deepperception.platform.packages import version_name
from deepperception.platform.submit import prepare, register, rendered, start
from deepperception.recipe import Recipe, load_recipe


def submit(recipe: Recipe, infra: Infra, said: list[str] | None = None) -> str:
    package, request = prepare(recipe, infra, "synthesis")
    return start(infra, package, request, (said if said is not None else []).append)


def test_the_requests_and_answers_are_those_of_the_described_api(
    api_description: dict[str, Any], kfp_api: Any, recipe: Recipe, cluster: Infra
) -> None:
    submit(recipe, cluster)
    assert "POST /apis/v2beta1/pipelines/upload_version" in kfp_api.asked
    assert kfp_api.violations == []


def test_a_run_is_started_with_what_the_recipe_and_the_infra_file_say(
    kfp_api: Any, recipe: Recipe, cluster: Infra
) -> None:
    package, request = prepare(recipe, cluster, "synthesis")
    run = kfp_api.runs[start(cluster, package, request, print)]
    assert run["display_name"] == request.run
    assert run["service_account"] == "deepperception-runner"
    sent = run["runtime_config"]["parameters"]
    assert sent == request.arguments
    assert Recipe.from_json(sent["recipe"]) == recipe
    assert Infra.from_json(sent["infra"]).work_dir == Path("/work") / request.run
    (experiment,) = kfp_api.experiments.values()
    assert (experiment["display_name"], experiment["namespace"]) == ("deepperception", "deepperception-runs")
    (pipeline,) = kfp_api.pipelines.values()
    assert (pipeline["name"], pipeline["namespace"]) == ("deepperception-synthesis", "deepperception-runs")
    (version,) = kfp_api.versions.values()
    assert version["name"] == version_name(package)
    assert list(kfp_api.packages.values()) == [package]


def test_a_package_is_uploaded_once_and_another_one_beside_it(kfp_api: Any, recipe: Recipe, cluster: Infra) -> None:
    said: list[str] = []
    kfp_api.runs[submit(recipe, cluster, said)]["state"] = "SUCCEEDED"
    kfp_api.runs[submit(recipe, cluster, said)]["state"] = "SUCCEEDED"
    assert len(kfp_api.versions) == 1
    assert said[-1].endswith("is there already")
    pools = {**cluster.pools, "cpu": cluster.pools["cpu"].model_copy(update={"memory": "9Gi"})}
    submit(recipe, cluster.model_copy(update={"pools": pools}))
    assert len(kfp_api.versions) == 2
    assert len(kfp_api.pipelines) == 1


def test_the_pipelines_can_be_registered_without_a_run(kfp_api: Any, cluster: Infra, recipe: Recipe) -> None:
    package, request = prepare(recipe, cluster, "synthesis")
    made = register(cluster, package, request.pipeline, print)
    assert register(cluster, package, request.pipeline, print) == made
    assert (len(kfp_api.versions), kfp_api.runs) == (1, {})


def test_a_run_under_way_is_not_started_twice_and_an_ended_one_is_again(
    kfp_api: Any, recipe: Recipe, cluster: Infra
) -> None:
    first = submit(recipe, cluster)
    for state in ("PENDING", "RUNNING"):
        kfp_api.runs[first]["state"] = state
        assert submit(recipe, cluster) == first
    kfp_api.runs[first]["state"] = "FAILED"
    assert submit(recipe, cluster) != first
    assert {run["display_name"] for run in kfp_api.runs.values()} == {kfp_api.runs[first]["display_name"]}


def test_names_follow_from_recipe_seed_and_pipeline(recipe: Recipe, recipe_file: Path, cluster: Infra) -> None:
    def name(other: Recipe, pipeline: str = "synthesis") -> str:
        return prepare(other, cluster, pipeline)[1].run

    assert name(recipe) == name(load_recipe(recipe_file))
    others = [load_recipe(recipe_file, seed=1), load_recipe(recipe_file, ["sft.epochs=7"])]
    names = {name(recipe), *map(name, others), name(recipe, "deepperception")}
    assert len(names) == 4
    assert all(len(each) <= 63 for each in names)


def test_an_installation_for_one_user_is_told_no_namespace(kfp_api: Any, recipe: Recipe, cluster: Infra) -> None:
    kfp_api.many_users = False
    submit(recipe, cluster)
    (experiment,) = kfp_api.experiments.values()
    assert not experiment.get("namespace")


def test_a_benchmark_goes_through_the_store(kfp_api: Any, recipe: Recipe, cluster: Infra, tmp_path: Path) -> None:
    file = tmp_path / "kvg.parquet"
    file.write_bytes(b"rows")
    package, request = prepare(recipe, cluster, "benchmark", file)
    reference = Ref.parse(request.arguments["file"])
    assert not Path(cluster.store).exists()
    start(cluster, package, request, print, file)
    (kept,) = open_store(cluster.store).get(reference).iterdir()
    assert kept.read_bytes() == b"rows"


@pytest.mark.parametrize(("pipeline", "file"), [("benchmark", None), ("synthesis", Path("x.parquet"))])
def test_a_benchmark_and_its_file_belong_together(
    recipe: Recipe, cluster: Infra, pipeline: str, file: Path | None
) -> None:
    with pytest.raises(InputError, match="--benchmark FILE belongs to"):
        prepare(recipe, cluster, pipeline, file)


def test_what_is_printed_is_what_is_sent(kfp_api: Any, recipe: Recipe, cluster: Infra) -> None:
    package, request = prepare(recipe, cluster, "synthesis")
    *documents, printed = yaml.safe_load_all(rendered(package, request))
    assert kfp_api.asked == []
    run = kfp_api.runs[start(cluster, package, request, print)]
    assert documents == list(yaml.safe_load_all(next(iter(kfp_api.packages.values()))))
    assert printed["arguments"] == run["runtime_config"]["parameters"]
    assert (printed["run"], printed["service_account"]) == (run["display_name"], run["service_account"])


def test_an_endpoint_that_does_not_answer_is_told_in_one_sentence(recipe: Recipe, cluster: Infra) -> None:
    assert cluster.kubeflow is not None
    nowhere = cluster.kubeflow.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(
        InfrastructureError, match=r"^http://127\.0\.0\.1:9: Kubeflow Pipelines does not answer"
    ) as told:
        submit(recipe, cluster.model_copy(update={"kubeflow": nowhere}))
    assert "\n" not in str(told.value)


def test_what_the_api_says_is_told_in_one_sentence(kfp_api: Any, recipe: Recipe, cluster: Infra) -> None:
    kfp_api.broken = "the database\nis away"
    with pytest.raises(InfrastructureError, match=r"it answered 500 .the database is away.; look at its log") as told:
        submit(recipe, cluster)
    assert "\n" not in str(told.value)


def test_an_api_that_wants_a_token_says_where_to_give_it(
    kfp_api: Any, recipe: Recipe, cluster: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_api.token = "key"
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(InputError, match=f"answered 401 .*give a token in {TOKEN}"):
        submit(recipe, cluster)
    monkeypatch.setenv(TOKEN, "key")
    assert submit(recipe, cluster) in kfp_api.runs


@pytest.mark.parametrize("runner", ["local", "docker"])
def test_what_is_for_this_machine_is_sent_nowhere_and_can_be_looked_at(
    recipe: Recipe, infra: Infra, runner: str
) -> None:
    here = infra.model_copy(update={"runner": runner})
    package, request = prepare(recipe, here)
    with pytest.raises(InputError, match=f"^runner: '{runner}' is not for a cluster"):
        start(here, package, request, print)
    assert request.run.startswith("tests-0-")
    assert json.loads(request.arguments["infra"])["work_dir"] == str(infra.work_dir)
