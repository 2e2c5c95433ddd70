"""A real server: it holds what a database holds, and what happens to it while steps are at work leaves one record."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from deepperception.tracking import Pipeline, Recorder, Tracker, Version, send_waiting

pytestmark = pytest.mark.mlflow_server

_OF_ONE_PLACE = ("mlflow.user", "mlflow.parentRunId", "deepperception.record", "deepperception.sent")


def recorder(uri: str, work_dir: Path, pipeline: Pipeline, stage: str = "sft") -> Recorder:
    return Recorder(uri, "tests", work_dir, pipeline, stage, print)


def record_a_pipeline(uri: str, work_dir: Path, pipeline: Pipeline, files: Path) -> Tracker:
    """What the steps of a small pipeline leave."""
    for stage, names in {"base": ["base"], "sft": ["sft"], "evaluation-sft": ["validation", "test"]}.items():
        step = recorder(uri, work_dir, pipeline, stage)
        step.greet()
        for name in names:
            full = name if name == stage else f"{stage}-{name}"
            curves = [{"step": number, "loss": 1 / number} for number in (1, 2, 3)] if name == "sft" else []
            step.stage_run(
                full, f"{full} 1", params={"epochs": 1, "optimizer": {"name": "adamw"}}, metrics={"accuracy": 0.5},
                curves=curves, files=[files], tags={"digest": f"sha256:{full}", "commit": "abc"},
            )  # fmt: skip
    last = recorder(uri, work_dir, pipeline, "report")
    last.finish(metrics={"sft.accuracy": 0.5}, files=[files / "card.json"], tags={"data": "sha256:d"})
    tracker = last.tracker
    number = tracker.register(pipeline.key, "s3://models/store/sft", "sha256:sft", None, {"arm": "sft"})
    tracker.set_alias(pipeline.key, "champion", number)
    return tracker


def told(tracker: Tracker, pipeline: Pipeline, fetched: Path) -> dict[str, Any]:
    """All that is on record, but for what is each place's own: ids and times."""
    (top,) = tracker.runs._find_all(pipeline.key)
    below = tracker._client.search_runs(
        [tracker.runs.experiment_id], f"tags.`mlflow.parentRunId` = '{top.info.run_id}'"
    )
    content = {run.info.run_name: _told(tracker, run, fetched) for run in (top, *below)}
    champion = tracker.alias(pipeline.key, "champion")
    assert isinstance(champion, Version)
    made_by = tracker._client.get_run(str(champion.run_id)).info.run_name
    return {**content, "champion": (champion.number, champion.uri, champion.digest, made_by, champion.tags)}


def _told(tracker: Tracker, run: Any, fetched: Path) -> dict[str, Any]:
    run_id = run.info.run_id
    history = {name: tracker._client.get_metric_history(run_id, name) for name in run.data.metrics}
    into = fetched / run_id
    into.mkdir(parents=True)
    root = Path(tracker._client.download_artifacts(run_id, "", str(into)))
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {
        "status": run.info.status,
        "params": run.data.params,
        "metrics": {name: [(point.step, point.value) for point in points] for name, points in history.items()},
        "tags": {key: value for key, value in run.data.tags.items() if key not in _OF_ONE_PLACE},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "card.json").write_text("{}")
    return folder


def test_a_pipelines_records_on_a_server_equal_those_in_a_database(
    mlflow_server: Any, database: Tracker, pipeline: Pipeline, files: Path, tmp_path: Path
) -> None:
    there = record_a_pipeline(mlflow_server.url, tmp_path / "there", pipeline, files)
    here = record_a_pipeline(database.uri, tmp_path / "here", pipeline, files)
    expected = told(here, pipeline, tmp_path / "from database")
    assert told(there, pipeline, tmp_path / "from server") == expected
    assert set(expected) == {
        "demo", "base", "sft", "evaluation-sft-validation", "evaluation-sft-test", "champion",
    }  # fmt: skip
    assert expected["sft"]["metrics"]["loss"] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    record_a_pipeline(mlflow_server.url, tmp_path / "there", pipeline, files)
    assert told(there, pipeline, tmp_path / "again") == expected, "run again: nothing is recorded twice"


def test_a_server_that_dies_in_a_record_and_comes_back_has_it_once(
    mlflow_server: Any, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = [{"step": number, "loss": 1 / number} for number in range(1, 2500)]
    step = recorder(mlflow_server.url, tmp_path, pipeline)
    step.greet()
    original, batches = step.tracker._client.log_batch, []

    def dies(*arguments: Any, **more: Any) -> None:
        if more.get("metrics"):
            batches.append(len(more["metrics"]))
            if len(batches) == 2:
                mlflow_server.kill()
        original(*arguments, **more)

    monkeypatch.setattr(step.tracker._client, "log_batch", dies)
    waits = Tracker(mlflow_server.url, "tests", patience_s=600)
    champion: list[Any] = []
    waiting = threading.Thread(target=lambda: champion.append(waits.alias(pipeline.key, "champion")))
    try:
        assert step.stage_run("sft", "sft 1", metrics={"accuracy": 0.5}, curves=curves) is None
        waiting.start()
    finally:
        mlflow_server.start()
    waiting.join(120)
    assert champion == [None], "the gate waited for the server, and had its answer"

    tracker = step.tracker
    (half,) = tracker.runs._find_all("sft 1", pipeline.key)
    assert half.info.status == "RUNNING", "half a record does not look finished"
    # The step was killed, too, and is run again: it finds its artifact finished, and records it anew.
    monkeypatch.undo()
    again = recorder(mlflow_server.url, tmp_path, pipeline)
    run_id = again.stage_run("sft", "sft 1", metrics={"accuracy": 0.5, "wall_s": 0.1}, curves=curves)
    (run,) = tracker.runs._find_all("sft 1", pipeline.key)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    points = tracker._client.get_metric_history(run_id, "loss")
    assert [point.step for point in points] == list(range(1, 2500))
    assert "wall_s" not in run.data.metrics, "the first record waited, and was the one sent"


SENDS = """
import sys
from pathlib import Path
from deepperception.tracking import Pipeline, Recorder, send_waiting
what, uri, folder, key = sys.argv[1:]
step = Recorder(uri, "tests", Path(folder), Pipeline(key, "demo", {"seed": 3}), "sft", print)
step.greet()
print("ready", flush=True)
sys.stdin.readline()
if what == "record":
    print(step.stage_run("sft", "sft 1", metrics={"accuracy": 0.5}, curves=[{"step": 1, "loss": 2.0}]))
else:
    print(send_waiting(uri, "tests", Path(folder), print))
"""


@pytest.mark.parametrize("shared", [True, False], ids=["one work folder", "two work folders"])
def test_two_processes_that_record_the_same_stage_leave_one_record(
    mlflow_server: Any, pipeline: Pipeline, tmp_path: Path, shared: bool
) -> None:
    folders = [tmp_path / "work", tmp_path / ("work" if shared else "other")]
    run_ids = _at_once("record", mlflow_server.url, folders, pipeline.key)
    tracker = Tracker(mlflow_server.url, "tests")
    top = tracker.pipeline_run(Pipeline(pipeline.key, "demo"))
    assert [run.info.run_id for run in tracker.runs._find_all(pipeline.key)] == [top]
    (run,) = tracker.runs._find_all("sft 1", pipeline.key)
    assert run.data.tags["mlflow.parentRunId"] == top
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"accuracy": 0.5, "loss": 2.0})
    assert len(tracker._client.get_metric_history(run.info.run_id, "loss")) == 1
    assert run.info.run_id in run_ids


def test_what_waits_is_sent_once_by_whoever_comes(
    mlflow_server: Any, pipeline: Pipeline, tmp_path: Path, unused_port: int
) -> None:
    dead = recorder(f"http://127.0.0.1:{unused_port}", tmp_path, pipeline)
    dead.stage_run("sft", "sft 1", metrics={"accuracy": 0.5})
    assert _at_once("send", mlflow_server.url, [tmp_path, tmp_path], pipeline.key) == ["0", "0"]
    tracker = Tracker(mlflow_server.url, "tests")
    (run,) = tracker.runs._find_all("sft 1", pipeline.key)
    assert run.info.status == "FINISHED"
    assert send_waiting(mlflow_server.url, "tests", tmp_path, print) == 0


def _at_once(what: str, uri: str, folders: list[Path], key: str) -> list[str]:
    """The last line of a process for each folder, let go at the same moment."""
    commands = [[sys.executable, "-c", SENDS, what, uri, str(folder), key] for folder in folders]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for command in commands]
    for process in processes:
        assert process.stdout is not None
        while (line := process.stdout.readline().strip()) != "ready":
            assert line, "it ended before it began"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip().splitlines()[-1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return said
