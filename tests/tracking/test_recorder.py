"""One step's record, in front of servers that are there or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking import Pipeline, Recorder, Tracker, send_waiting


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def recorder(
    tmp_path: Path, pipeline: Pipeline, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Recorder]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")

    def made(uri: str) -> Recorder:
        return Recorder(uri, "tests", tmp_path / "work", pipeline, "sft", said.append)

    return made


def test_a_database_has_the_record_at_once(recorder: Callable[[str], Recorder], database: Tracker) -> None:
    step = recorder(database.uri)
    step.greet()
    run_id = step.stage_run("sft", "sft 1", metrics={"accuracy": 0.5})
    assert run_id is not None
    assert step.stage_run("sft", "sft 1", metrics={"accuracy": 0.5}) == run_id
    step.finish(metrics={"sft.accuracy": 0.5})
    (pipeline,) = database.runs._find_all(step.pipeline.key)
    assert (pipeline.info.status, pipeline.data.metrics) == ("FINISHED", {"sft.accuracy": 0.5})


def test_a_dead_server_delays_the_record_and_not_the_step(
    recorder: Callable[[str], Recorder], unused_port: int, said: list[str], database: Tracker, tmp_path: Path
) -> None:
    dead = recorder(f"http://127.0.0.1:{unused_port}")
    dead.greet()
    assert dead.stage_run("sft", "sft 1", metrics={"accuracy": 0.5}) is None
    dead.finish(metrics={"sft.accuracy": 0.5})
    assert "connection refused" in said[0] and f"Records waiting in {dead.work_dir / 'tracking'}: 2;" in said[-1]
    assert all("\n" not in sentence for sentence in said)

    assert send_waiting(dead.uri, "tests", dead.work_dir, said.append) == 2
    assert send_waiting(database.uri, "tests", dead.work_dir, said.append) == 0
    (pipeline,) = database.runs._find_all(dead.pipeline.key)
    (run,) = database.runs._find_all("sft 1", dead.pipeline.key)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"accuracy": 0.5})
    assert pipeline.info.status == "FINISHED"
    assert send_waiting(database.uri, "tests", tmp_path / "no such folder", said.append) == 0


def test_a_run_that_the_pipeline_gave_is_known_though_the_server_is_away(
    recorder: Callable[[str], Recorder], unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    given = recorder(f"http://127.0.0.1:{unused_port}")
    assert given.stage_run("sft", "sft 1") == "f" * 32
    (waiting,) = given.work_dir.glob("tracking/pending/*/record.json")
    assert json.loads(waiting.read_text())["attach_to"] == "f" * 32, "the step that sends it may have another"


def test_what_cannot_go_on_without_the_server_fails_in_the_end(
    recorder: Callable[[str], Recorder], unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPPERCEPTION_TRACKING_PATIENCE_S", "0")
    with pytest.raises(InfrastructureError, match="run again, finished stages are kept"):
        recorder(f"http://127.0.0.1:{unused_port}").settle()


@pytest.mark.mlflow_server
def test_a_wrong_password_is_told_before_the_work(
    recorder: Callable[[str], Recorder], mlflow_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = recorder(mlflow_server.url)  # type: ignore[attr-defined]
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(InputError, match=r"does not know this user or password; set MLFLOW_TRACKING_USERNAME"):
        step.greet()
    with pytest.raises(InputError, match="does not know this user"):
        step.stage_run("sft", "told at once")
    monkeypatch.undo()
    step.greet()
    assert send_waiting(step.uri, "tests", step.work_dir, print) == 0
    assert len(Tracker(step.uri, "tests").runs._find_all("told at once")) == 1
