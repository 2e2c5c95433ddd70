"""`check` and `submit` say all that would fail, at once, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from deepperception.cli import cli
from deepperception.infra import Infra

BASE = "package://deepperception.bestiary/base"


@pytest.fixture
def file(cluster: Infra, tmp_path: Path) -> Path:
    return tmp_path / "cluster.yaml"


def change(file: Path, **changes: Any) -> None:
    content = yaml.safe_load(file.read_text())
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            content[section][name] = value
        else:
            content[section] = value
    file.write_text(yaml.safe_dump(content))


def ask(command: str, file: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, [command, "bestiary", "--infra", str(file), *more])


def test_a_good_file_shows_what_would_run_where(kfp_api: Any, file: Path) -> None:
    result = ask("check", file)
    assert result.exit_code == 0, result.output
    assert "fine" in result.output
    assert "grpo: pool gpu, cpu 8, memory 64Gi, 1 x nvidia.com/gpu, at most 14400 s" in result.output
    assert "preflight: pool cpu, cpu 2, memory 8Gi" in result.output
    assert all(f"pipeline {name} " in result.output for name in ("deepperception", "benchmark", "synthesis"))
    assert "inside the cluster; the run's pre-flight does" in result.output
    assert {ask.split()[0] for ask in kfp_api.asked} == {"GET"}


def test_it_says_which_trainings_become_trainjobs_and_shows_them(kfp_api: Any, file: Path) -> None:
    stages = {"sft": {"pool": "gpu", "nodes": 2, "timeout_s": 60}, "grpo": {"pool": "gpu"}}
    pools = yaml.safe_load(file.read_text())["pools"]
    pools["gpu"]["queue"] = "training"
    change(file, stages=stages, pools=pools)
    result = ask("check", file)
    assert result.exit_code == 0, result.output
    assert (
        "sft: a TrainJob, in the queue training, 2 processes on 2 nodes of pool gpu, each with cpu 8, memory 64Gi, "
        "1 x nvidia.com/gpu, at most 60 s; made and watched from pool cpu"
    ) in result.output
    documents = list(yaml.safe_load_all(ask("submit", file, "--dry-run").output))
    request, jobs = documents[2], documents[3:]
    assert [job["metadata"]["labels"]["app.kubernetes.io/name"] for job in jobs] == ["sft", "cot_sft"]
    for job in jobs:
        assert job["spec"]["trainer"]["numNodes"] == 2
        # The run has its own folder on the volume, and the volume its usual place.
        assert job["spec"]["trainer"]["args"][-1] == f"/work/{request['run']}/trainjobs/{job['metadata']['name']}"
        assert "mountPath: /work\n" in yaml.safe_dump(job)
    assert kfp_api.runs == {}


def test_a_step_that_processes_cannot_share_is_told(kfp_api: Any, file: Path) -> None:
    change(file, stages={"grpo": {"pool": "gpu", "nodes": 7}})
    result = ask("check", file)
    assert result.exit_code == 1
    assert "cannot be shared evenly by 7 processes" in result.stderr


@pytest.mark.parametrize("command", ["check", "submit"])
def test_all_faults_are_told_at_once(kfp_api: Any, file: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "text").write_text("")
    pools = yaml.safe_load(file.read_text())["pools"]
    pools["gpu"]["count"] = 0
    change(
        file,
        pools=pools,
        stages={"sft": {"pool": "gpuu"}, "grop": {"pool": "gpu"}},
        images={"trainer": "deepperception/trainer:0.1.0"},
        kubeflow__endpoint="http://127.0.0.1:9",
        store=str(tmp_path / "text"),
    )
    result = ask(command, file, "--set", "model.base=hf://Qwen/Qwen2-VL-7B@main")
    assert result.exit_code == 1
    said = result.stderr.splitlines()
    for part in (
        "stages.sft.pool: there is no pool 'gpuu'; did you mean 'gpu'?",
        "stages.grop: there is no such stage; did you mean 'grpo'?",
        "stages.grpo: it needs a GPU and the pool 'gpu' gives it none",
        "pools.gpu.count: it names the accelerator nvidia.com/gpu and asks for 0",
        "images.trainer: 'deepperception/trainer:0.1.0' is no digest",
        "http://127.0.0.1:9: Kubeflow Pipelines does not answer",
        str(tmp_path / "text"),
        "hf://Qwen/Qwen2-VL-7B@main: expected hf://ORG/NAME@COMMIT",
    ):
        assert len([line for line in said if part in line]) == 1, (part, said)
    assert said[0] == f"error: {len(said) - 1} faults:"
    assert kfp_api.asked == []


def test_a_misspelt_key_does_not_hide_another(file: Path) -> None:
    change(file, pools__gpu={"cpu": "8", "memory": "64Gi", "acelerator": "nvidia.com/gpu"}, kubeflow__namespase="x")
    result = ask("check", file)
    assert result.exit_code == 1
    assert "unknown key 'pools.gpu.acelerator'; did you mean 'accelerator'?" in result.stderr
    assert "unknown key 'kubeflow.namespase'; did you mean 'namespace'?" in result.stderr


def test_a_tag_is_refused_unless_it_is_allowed(kfp_api: Any, file: Path) -> None:
    change(file, images={"trainer": "deepperception/trainer:0.1.0"})
    refused = ask("submit", file)
    assert refused.exit_code == 1
    assert "--allow-tags" in refused.stderr
    assert kfp_api.runs == {}
    allowed = ask("submit", file, "--allow-tags")
    assert allowed.exit_code == 0, allowed.output
    (run,) = kfp_api.runs.values()
    assert allowed.stdout == f"started: {run['display_name']} ({run['run_id']})\n"


def test_the_placeholders_of_the_ready_file_are_refused(kfp_api: Any) -> None:
    result = CliRunner().invoke(cli, ["submit", "bestiary", "--infra", "gpu-pool", "--endpoint", kfp_api.url])
    assert result.exit_code == 1
    assert result.stderr.count("is no digest") == 2
    assert kfp_api.runs == {}


def test_a_trial_touches_nothing(kfp_api: Any, file: Path) -> None:
    result = ask("submit", file, "--dry-run")
    assert result.exit_code == 0, result.output
    package, platform, request = yaml.safe_load_all(result.output)
    assert package["pipelineInfo"]["name"] == request["pipeline"] == "deepperception"
    assert "kubernetes" in platform["platforms"]
    assert set(request["arguments"]) == set(package["root"]["inputDefinitions"]["parameters"])
    assert kfp_api.asked == []


def test_a_folder_of_this_machine_is_no_model_for_a_cluster(file: Path, tmp_path: Path) -> None:
    result = ask("check", file, "--set", f"model.base={tmp_path}")
    assert result.exit_code == 1
    assert "is a folder of one machine" in result.stderr


def test_only_a_dead_endpoint_is_the_infrastructures_failure(file: Path) -> None:
    change(file, kubeflow__endpoint="http://127.0.0.1:9")
    result = ask("check", file)
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
