"""What a cluster is given: the compiled pipelines, against the infra file and against the reviewed golden files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import pytest
import yaml

from deepperception.infra import Infra, load_infra
from deepperception.infra_pools import GPU_STAGES, Pool, place_of
from deepperception.platform.packages import PIPELINES, compiled, version_name

GOLDEN = Path(__file__).with_name("golden")
INFRA = load_infra(GOLDEN / "infra.yaml")


NODES = load_infra(golden.NODES / "infra.yaml")


@pytest.fixture(scope="module")
def packages() -> dict[str, str]:
    return {name: compiled(name, INFRA) for name in PIPELINES}


@pytest.fixture(scope="module")
def whole(packages: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the whole flow: the package's executors, and what of them is Kubernetes'."""
    package, platform = yaml.safe_load_all(packages["deepperception"])
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return package["deploymentSpec"]["executors"], kubernetes


def stage_of(executor: str) -> str:
    return executor.removeprefix("exec-").rstrip("-0123456789")


@pytest.mark.parametrize("name", PIPELINES)
def test_it_compiles_to_the_reviewed_file(packages: dict[str, str], name: str) -> None:
    golden = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert packages[name] == golden, "run `make golden`, and review the difference"


def test_two_nodes_are_what_was_reviewed() -> None:
    for name, text in (("deepperception", compiled("deepperception", NODES)), ("trainjobs", golden.jobs(NODES))):
        assert text == (golden.NODES / f"{name}.yaml").read_text(encoding="utf-8"), "run `make golden`"


def test_a_training_on_two_nodes_is_a_pod_that_waits() -> None:
    package, platform = yaml.safe_load_all(compiled("deepperception", NODES))
    executors = package["deploymentSpec"]["executors"]
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, launcher in (("exec-sft", "small"), ("exec-sft-2", "small"), ("exec-grpo", "cpu")):
        resources = executors[name]["container"]["resources"]
        assert "accelerator" not in resources
        assert resources["resourceMemoryLimit"] == NODES.pools[launcher].memory
        assert "nodeSelector" not in kubernetes[name] and "tolerations" not in kubernetes[name]
        assert "activeDeadlineSeconds" not in kubernetes[name], "its queue may take long"
        environment = {each["name"]: each["value"] for each in executors[name]["container"]["env"]}
        assert environment["DEEPPERCEPTION_WORK_MOUNT"] == "/work"
    assert "accelerator" in executors["exec-evaluation"]["container"]["resources"]


@pytest.mark.parametrize("name", PIPELINES)
def test_the_same_pipeline_has_the_same_version(packages: dict[str, str], name: str) -> None:
    assert version_name(compiled(name, INFRA)) == version_name(packages[name])


def test_another_infra_file_is_another_version(packages: dict[str, str]) -> None:
    larger = INFRA.model_copy(update={"pools": {**INFRA.pools, "cpu": Pool(cpu="4", memory="8Gi")}})
    assert version_name(compiled("synthesis", larger)) != version_name(packages["synthesis"])


def test_every_task_takes_what_its_pool_gives(whole: tuple[dict[str, Any], dict[str, Any]]) -> None:
    executors, kubernetes = whole
    for name, executor in executors.items():
        pool = INFRA.pools[place_of(INFRA, stage_of(name)).pool]
        resources, pod = executor["container"]["resources"], kubernetes[name]
        assert resources["resourceCpuRequest"] == resources["resourceCpuLimit"] == pool.cpu
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"] == pool.memory
        device = resources.get("accelerator", {})
        assert device.get("resourceType") == pool.accelerator
        assert int(device.get("resourceCount", 0)) == pool.count
        assert pod.get("nodeSelector", {}).get("labels", {}) == pool.node_selector
        assert pod.get("tolerations", []) == [each.model_dump(exclude_none=True) for each in pool.tolerations]
        mounts = {mount["mountPath"]: mount for mount in pod.get("emptyDirMounts", [])}
        assert mounts.get("/dev/shm", {}).get("sizeLimit") == pool.shared_memory
        assert all(mount["medium"] == "Memory" for mount in mounts.values())


def test_what_trains_and_asks_has_its_gpus(whole: tuple[dict[str, Any], dict[str, Any]]) -> None:
    having = {stage_of(name) for name, each in whole[0].items() if "accelerator" in each["container"]["resources"]}
    assert set(GPU_STAGES) <= having
    assert having.isdisjoint({"preflight", "base", "ending", "report"})


def test_every_pod_runs_as_the_images_user_with_its_volumes(whole: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for name, pod in whole[1].items():
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        claims = {mount["mountPath"]: mount["constant"] for mount in pod["pvcMount"]}
        assert claims == {"/work": "deepperception-work", "/hub": "deepperception-hub"}
        labels = pod["podMetadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "deepperception"
        assert labels["app.kubernetes.io/component"] == "step"
        assert labels["app.kubernetes.io/name"] == stage_of(name)


def test_only_the_model_import_may_go_out(whole: tuple[dict[str, Any], dict[str, Any]]) -> None:
    executors, kubernetes = whole
    for name, executor in executors.items():
        environment = {entry["name"]: entry["value"] for entry in executor["container"]["env"]}
        imports = stage_of(name) == "base"
        assert environment["HF_HOME"] == "/hub"
        assert environment.get("HF_HUB_OFFLINE") == (None if imports else "1")
        marked = kubernetes[name]["podMetadata"]["labels"].get("deepperception.io/imports-models")
        assert marked == ("true" if imports else None)


def test_secrets_come_as_environment_and_may_lack_only_where_that_is_told(
    whole: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    for name, pod in whole[1].items():
        secrets = {secret["secretName"]: secret for secret in pod["secretAsEnv"]}
        assert set(secrets) == {"deepperception-store", "deepperception-tracking"}
        assert {secret["optional"] for secret in secrets.values()} == {stage_of(name) in ("preflight", "ending")}


def test_time_limits_and_attempts_are_the_files(
    packages: dict[str, str], whole: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    for name, pod in whole[1].items():
        limit = place_of(INFRA, stage_of(name)).timeout_s
        assert pod.get("activeDeadlineSeconds") == (str(limit) if limit else None)
    content = next(iter(yaml.safe_load_all(packages["deepperception"])))
    tasks = content["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    for task in tasks.values():
        retries = place_of(INFRA, stage_of(task["componentRef"]["name"].removeprefix("comp-"))).retries
        assert task.get("retryPolicy", {}).get("maxRetryCount", 0) == retries


def test_the_image_is_the_infra_files(packages: dict[str, str]) -> None:
    for package in packages.values():
        content = next(iter(yaml.safe_load_all(package)))
        images = {executor["container"]["image"] for executor in content["deploymentSpec"]["executors"].values()}
        assert INFRA.images is not None
        assert images == {INFRA.images.trainer}


def test_the_ready_file_compiles_as_it_stands(packages: dict[str, str]) -> None:
    ready: Infra = load_infra("gpu-pool")
    assert set(yaml.safe_load_all(packages["deepperception"]).__next__()) == set(
        yaml.safe_load_all(compiled("deepperception", ready)).__next__()
    )


def test_a_hubs_token_reaches_the_importing_pod_alone_and_only_as_a_secret() -> None:
    assert INFRA.kubeflow is not None
    named = INFRA.model_copy(update={"kubeflow": INFRA.kubeflow.model_copy(update={"hub_secret": "hub-token"})})
    package, platform = yaml.safe_load_all(compiled("deepperception", named))
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    having = {
        stage_of(name): entry
        for name, pod in pods.items()
        for entry in pod["secretAsEnv"]
        if entry["secretName"] == "hub-token"
    }
    assert set(having) == {"base"}
    assert having["base"]["keyToEnv"] == [{"secretKey": "HF_TOKEN", "envVar": "HF_TOKEN"}]
    assert "HF_TOKEN" not in yaml.safe_dump(package)


def test_pods_of_a_pool_with_a_queue_wait_in_it_and_no_others() -> None:
    gpu = INFRA.pools["gpu"].model_copy(update={"queue": "training"})
    queued = INFRA.model_copy(update={"pools": {**INFRA.pools, "gpu": gpu}})
    _, platform = yaml.safe_load_all(compiled("search", queued))
    for name, pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
        stage = {"exam": "evaluation", "replication": "evaluation"}.get(stage_of(name), stage_of(name))
        wanted = "training" if place_of(queued, stage).pool == "gpu" else None
        assert pod["podMetadata"]["labels"].get("kueue.x-k8s.io/queue-name") == wanted, name


def test_trials_are_run_by_a_loop_over_what_the_plan_found(packages: dict[str, str]) -> None:
    content = next(iter(yaml.safe_load_all(packages["search"])))
    components = content["components"]
    tasks = components["comp-exit-handler-1"]["dag"]["tasks"]
    (loop,) = [task for task in tasks.values() if "parameterIterator" in task]
    inside = components[loop["componentRef"]["name"]]["dag"]["tasks"]
    assert {stage_of(task["componentRef"]["name"].removeprefix("comp-")) for task in inside.values()} == {
        "sft",
        "grpo",
        "exam",
    }
    for task in inside.values():
        assert "trial" in task["inputs"]["parameters"], "each step knows which trial it is of"
    splits = {constant(task, "split") for task in inside.values() if "split" in task["inputs"]["parameters"]}
    assert splits == {"validation"}
    tested = [name for name, task in tasks.items() if constant(task, "split") == "test"]
    assert len(tested) == 4
    assert all("selection" in tasks[name]["dependentTasks"] for name in tested)
    assert "promotion" in tasks["replication"]["dependentTasks"]


def constant(task: dict[str, Any], parameter: str) -> str | None:
    """What the pipeline itself gives the task."""
    given: dict[str, Any] = task["inputs"]["parameters"].get(parameter, {}).get("runtimeValue", {})
    return given.get("constant")
