"""The object that is sent, and what it is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from services.trainjob_launcher import ROOT, SCHEMA

from deepperception.infra import Infra
from deepperception.platform.deploy import schemas
from deepperception.platform.trainjob import render as module
from deepperception.platform.trainjob.render import RUNTIME, SPEC, attempt_environment, job_name, render
from deepperception.recipe import Recipe

COMPONENT = ROOT / "manifests" / "components" / "gpu"
MOUNT = Path("/work")


@pytest.mark.parametrize("stage", ["sft", "cot_sft", "grpo"])
def test_it_fits_trainers_schema(recipe: Recipe, two_nodes: Infra, stage: str) -> None:
    if not SCHEMA.is_file():
        pytest.skip(f"{SCHEMA} is not there: TrainJobs cannot be checked against Trainer's schema")
    job = render(stage, recipe, two_nodes, MOUNT, "{}", {"DEEPPERCEPTION_RUN": "flow-1"})
    assert list(schemas.custom_breaches([job], SCHEMA.parent)) == []


@pytest.mark.parametrize(
    "name", ["a", "7-photos", "a-very-long-name-of-a-recipe-with-many-more-words", "x" * 31 + "-y"]
)
def test_a_name_is_a_dns_label_that_leaves_room_for_its_pods(recipe: Recipe, two_nodes: Infra, name: str) -> None:
    for stage in ("cot_sft", "grpo"):
        made = job_name(stage, recipe.model_copy(update={"name": name}), two_nodes)
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made) and "--" not in made
        assert len(f"{made}-node-0-99-abcde") <= 63


def test_a_name_follows_from_the_run_the_stage_and_the_recipe(recipe: Recipe, two_nodes: Infra) -> None:
    own = job_name("grpo", recipe, two_nodes)
    assert own == job_name("grpo", recipe, two_nodes.model_copy(update={"pools": {}}))
    others = {
        job_name("sft", recipe, two_nodes),
        job_name("grpo", recipe.model_copy(update={"seed": 8}), two_nodes),
        job_name("grpo", recipe, two_nodes.model_copy(update={"work_dir": Path("/work/another")})),
    }
    assert len(others | {own}) == 4


def test_the_spec_is_told_by_all_but_what_is_of_one_attempt(recipe: Recipe, two_nodes: Infra) -> None:
    def spec(infra: Infra, call: str = "{}", **own: str) -> str:
        return str(render("grpo", recipe, infra, MOUNT, call, own)["metadata"]["annotations"][SPEC])

    assert spec(two_nodes) == spec(two_nodes, DEEPPERCEPTION_RUN="flow-2")
    larger = two_nodes.pools["gpu"].model_copy(update={"memory": "128Gi"})
    assert spec(two_nodes) != spec(two_nodes.model_copy(update={"pools": {**two_nodes.pools, "gpu": larger}}))
    assert spec(two_nodes) != spec(two_nodes, call='{"seed": 8}')


def test_without_queue_and_time_limit_it_says_nothing_of_them(recipe: Recipe, two_nodes: Infra) -> None:
    unqueued = {name: pool.model_copy(update={"queue": None}) for name, pool in two_nodes.pools.items()}
    plain = two_nodes.model_copy(update={"pools": unqueued})
    unlimited = plain.stages["grpo"].model_copy(update={"timeout_s": None})
    job = render("grpo", recipe, plain.model_copy(update={"stages": {"grpo": unlimited}}), MOUNT)
    assert "activeDeadlineSeconds" not in job["spec"]
    assert not [label for label in job["metadata"]["labels"] if "kueue" in label]


def test_a_secret_travels_by_name_only(recipe: Recipe, two_nodes: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"AWS_SECRET_ACCESS_KEY": "hidden", "DEEPPERCEPTION_RUN": "flow-1", "MLFLOW_RUN_ID": "", "PATH": "/"}
    own = attempt_environment(environment, also=("MLFLOW_RUN_ID",))
    assert own == {"DEEPPERCEPTION_RUN": "flow-1"}
    assert "hidden" not in yaml.safe_dump(render("grpo", recipe, two_nodes, MOUNT, "{}", own))


def test_it_speaks_of_what_our_runtime_has(recipe: Recipe, two_nodes: Infra) -> None:
    runtime = yaml.safe_load((COMPONENT / "training-runtime.yaml").read_text())
    assert runtime["metadata"]["name"] == RUNTIME
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert (job["name"], pod["containers"][0]["name"]) == (module.NODE, module.NODE)
    patch: Any = render("grpo", recipe, two_nodes, MOUNT)["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]
    patched = patch["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    # A patch is merged by name: what it calls otherwise would be a second volume at the same place.
    own = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert {each["name"]: each["mountPath"] for each in patched["containers"][0]["volumeMounts"]}.items() <= own.items()
    for volume in patched["volumes"]:
        (same,) = (each for each in pod["volumes"] if each["name"] == volume["name"])
        assert volume.keys() == same.keys()
    assert (pod["restartPolicy"], job["template"]["spec"]["backoffLimit"]) == ("Never", 0)


def test_the_role_holds_what_the_launcher_asks_for() -> None:
    role = next(iter(yaml.safe_load_all((COMPONENT / "trainer-role.yaml").read_text())))
    runner = (ROOT / "manifests" / "base" / "runner.yaml").read_text()
    pods = [
        rule
        for each in yaml.safe_load_all(runner)
        if each["kind"] == "Role"
        for rule in each["rules"]
        if rule["resources"] == ["pods"]
    ]
    held = {resource: set(rule["verbs"]) for rule in [*role["rules"], *pods] for resource in rule["resources"]}
    assert held["trainjobs"] == {"list", "watch", "create", "delete"}
    assert held["pods/log"] == {"get"}
    assert held["events"] == {"list"}
    assert "list" in held["pods"]
