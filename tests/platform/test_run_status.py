"""A run on the cluster, as a person reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from deepperception.cli import cli
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.platform.run_status import of_cluster, of_cluster_run

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: int) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def task(name: str, state: str, start: int, end: int | None = None, **more: Any) -> dict[str, Any]:
    ended = {"end_time": at(end)} if end is not None else {}
    return {"task_id": name, "display_name": name, "state": state, "start_time": at(start), **ended, **more}


@pytest.fixture
def failed(kfp_api: Any) -> dict[str, Any]:
    """A run whose reinforcement learning failed after an hour."""
    traceback = "\n".join(["Traceback", *(f"line {number}" for number in range(20)), "grpo: the disk is full."])
    tasks = [
        task("grpo", "FAILED", 700, 4300, pod_name="flow-grpo-1", error={"code": 2, "message": traceback}),
        task("preflight", "SUCCEEDED", 10, 51),
        task("synthesis", "SKIPPED", 60, 60),
        task("root", "FAILED", 0, 4300),
        task("grpo-driver", "SUCCEEDED", 690, 700),
        task("executor", "SUCCEEDED", 20, 50),
    ]
    run = {"run_id": "4711", "display_name": "bestiary-0-abc", "state": "FAILED", "created_at": at(0)}
    kfp_api.runs["4711"] = {**run, "finished_at": at(4310), "run_details": {"task_details": tasks}}
    return run


@pytest.mark.parametrize("asked", ["bestiary-0-abc", "4711"])
def test_a_failed_run_shows_its_stages_and_the_failed_ones_last_lines(
    kfp_api: Any, cluster: Infra, failed: dict[str, Any], asked: str
) -> None:
    lines = list(of_cluster_run(cluster, asked))
    assert lines[0] == "bestiary-0-abc  FAILED  1:11:50  2 of the 4 stages that began are done"
    told = [line.split() for line in lines]
    assert ["preflight", "SUCCEEDED", "0:00:41"] in told
    assert ["grpo", "FAILED", "1:00:00"] in told
    order = [words[0] for words in told if words[0] in ("preflight", "synthesis", "grpo")]
    assert order == ["preflight", "synthesis", "grpo"]
    assert not any("driver" in line or "executor" in line for line in lines)
    said = [line.strip() for line in lines]
    assert "grpo: the disk is full." in said
    assert "line 19" in said
    assert "line 9" not in said
    assert "its log: kubectl logs --namespace deepperception-runs flow-grpo-1 --container main" in said
    assert "page    https://kfp.example/#/runs/details/4711" in said
    assert any(cluster.tracking_uri in line for line in said)


def test_runs_are_listed(kfp_api: Any, cluster: Infra, failed: dict[str, Any]) -> None:
    assert list(of_cluster(cluster)) == ["bestiary-0-abc  FAILED  1:11:50  4711"]


def test_where_there_are_no_runs_it_says_how_to_start_one(kfp_api: Any, cluster: Infra) -> None:
    assert "deepperception submit" in "".join(of_cluster(cluster))


def test_a_run_that_waits_has_no_stages_yet(kfp_api: Any, cluster: Infra) -> None:
    kfp_api.runs["1"] = {"run_id": "1", "display_name": "new", "state": "PENDING", "created_at": at(0)}
    assert next(of_cluster_run(cluster, "new")).endswith("0 of the 0 stages that began are done")


def test_a_run_that_is_not_there_is_the_users_error(kfp_api: Any, cluster: Infra) -> None:
    with pytest.raises(InputError, match="nothing: there is no such run; `deepperception status"):
        list(of_cluster_run(cluster, "nothing"))


def test_the_command_asks_the_cluster_that_the_file_is_of(
    kfp_api: Any, cluster: Infra, failed: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "other.yaml"
    content = yaml.safe_load((tmp_path / "cluster.yaml").read_text())
    content["kubeflow"]["endpoint"] = "http://127.0.0.1:9"
    path.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(cli, ["status", "--infra", str(path), "--endpoint", kfp_api.url])
    assert (result.exit_code, result.output) == (0, "bestiary-0-abc  FAILED  1:11:50  4711\n")
    down = CliRunner().invoke(cli, ["status", "4711", "--infra", str(path)])
    assert down.exit_code == 3
    assert len(down.stderr.splitlines()) == 1
