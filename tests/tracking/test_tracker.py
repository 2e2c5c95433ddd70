"""The tracker, on a real MLflow with a database file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking import MODEL, Tracker

DIGEST = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(scope="module")
def tracker(home: Path) -> Tracker:
    """One database for the module: making the tables takes a second."""
    return Tracker(f"sqlite:///{home / 'mlflow.db'}", "tests")


@pytest.fixture
def pipeline(tracker: Tracker, request: pytest.FixtureRequest) -> str:
    return tracker.pipeline_run(request.node.name, "demo", {"seed": 3}, {"recipe": "bestiary"})


def stage(tracker: Tracker, parent: str, key: str, **changes: object) -> str:
    given: dict[str, object] = {"params": {"learning_rate": 0.1}, "metrics": {"accuracy": 0.5}} | changes
    return tracker.stage_run(parent, "sft", key, **given)  # type: ignore[arg-type]


def test_a_pipeline_run_is_found_again_by_its_key(tracker: Tracker, pipeline: str) -> None:
    again = tracker.pipeline_run("test_a_pipeline_run_is_found_again_by_its_key", "demo", {"seed": 3}, {})
    other = tracker.pipeline_run("another key", "demo", {"seed": 4}, {})
    assert again == pipeline != other


def test_a_kill_before_the_params_leaves_none_out(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"seed": 3, "sft": {"epochs": 1}}
    with monkeypatch.context() as patched:
        patched.setattr(tracker._client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tracker.pipeline_run("killed early", "demo", params, {})
    tracker.pipeline_run("killed early", "demo", {"seed": 3}, {})
    for _ in range(2):
        run_id = tracker.pipeline_run("killed early", "demo", params, {})
        assert tracker._client.get_run(run_id).data.params == {"seed": "3", "sft.epochs": "1"}


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_broke_off_is_closed_until_it_goes_on(tracker: Tracker, status: Any) -> None:
    run_id = tracker.pipeline_run(status, "demo", {}, {})
    tracker.break_off(status, status)
    assert tracker._client.get_run(run_id).info.status == status
    tracker.pipeline_run(status, "demo", {}, {})
    assert tracker._client.get_run(run_id).info.status == "RUNNING"
    tracker.break_off("never began", status)


def test_a_stage_run_holds_what_it_was_given(tracker: Tracker, pipeline: str, tmp_path: Path, home: Path) -> None:
    (tmp_path / "report.html").write_text("<p>done</p>")
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "accuracy.png").write_bytes(b"png")
    run_id = stage(
        tracker,
        pipeline,
        "whole",
        params={"sft": {"learning_rate": 2e-4, "layers": [1, 2], "note": "x" * 7000}, "seed": 0},
        metrics={"accuracy": 0.75},
        curves=[{"step": step, "loss": 1 / step, "phase": "warm", "reward": None} for step in range(1, 1502)],
        artifacts=[tmp_path / "report.html", tmp_path / "charts"],
        tags={"digest": DIGEST},
    )
    run = tracker._client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "sft"
    assert run.data.tags["mlflow.parentRunId"] == pipeline
    assert run.data.tags["digest"] == DIGEST
    assert run.data.params["sft.learning_rate"] == "0.0002"
    assert run.data.params["sft.layers"] == "[1, 2]"
    assert len(run.data.params["sft.note"]) == 6000
    assert run.data.metrics == {"accuracy": 0.75, "loss": 1 / 1501}
    loss = tracker._client.get_metric_history(run_id, "loss")
    assert [point.step for point in loss] == list(range(1, 1502)), "more points than one request may hold"
    logged = home / "mlflow-artifacts" / run_id / "artifacts"
    assert (logged / "report.html").read_text() == "<p>done</p>"
    assert (logged / "charts" / "accuracy.png").is_file()


def test_logging_a_stage_twice_leaves_one_record(tracker: Tracker, pipeline: str) -> None:
    first = stage(tracker, pipeline, "twice", curves=[{"step": 1, "loss": 2.0}])
    second = stage(tracker, pipeline, "twice", curves=[{"step": 1, "loss": 2.0}])
    assert first == second
    assert len(tracker._client.get_metric_history(first, "loss")) == 1
    other = tracker.pipeline_run("a second pipeline", "demo", {}, {})
    assert stage(tracker, other, "twice") != first, "each pipeline has its own record"


def test_a_half_written_record_is_dropped_and_written_again(
    tracker: Tracker, pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tracker._client, "set_terminated", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage(tracker, pipeline, "killed")
    run_id = stage(tracker, pipeline, "killed")
    alive = tracker._find_all("killed", pipeline)
    assert [run.info.run_id for run in alive] == [run_id]
    assert alive[0].info.status == "FINISHED"


def test_finishing_a_pipeline_twice_is_the_same_as_once(tracker: Tracker, pipeline: str) -> None:
    for _ in range(2):
        tracker.finish(pipeline, metrics={"accuracy": 0.9})
    assert tracker._client.get_run(pipeline).info.status == "FINISHED"
    assert len(tracker._client.get_metric_history(pipeline, "accuracy")) == 1


def test_a_digest_is_registered_once(tracker: Tracker) -> None:
    first = tracker.register("once", "file:///store/a", DIGEST, None, {"stage": "base"})
    again = tracker.register("once", "file:///elsewhere/a", DIGEST, None, {"stage": "base", "gate": "passed"})
    other = tracker.register("once", "file:///store/b", "sha256:" + "b" * 64, None, {})
    assert (first, again, other) == (1, 1, 2)
    oldest, newest = tracker.versions("once")
    assert (oldest.uri, oldest.digest, oldest.tags["gate"]) == ("file:///store/a", DIGEST, "passed")
    assert newest.number == 2


def test_an_alias_moves_and_goes(tracker: Tracker) -> None:
    for letter in "ab":
        tracker.register("moves", f"file:///store/{letter}", "sha256:" + letter * 64, None, {})
    assert tracker.alias("moves", "champion") is None
    assert tracker.alias("no such model", "champion") is None
    for number in (1, 2, 2):
        tracker.set_alias("moves", "champion", number)
        champion = tracker.alias("moves", "champion")
        assert champion is not None
        assert champion.number == number
    for _ in range(2):
        tracker.delete_alias("moves", "champion")
    assert tracker.alias("moves", "champion") is None


def test_an_existing_database_is_opened_as_it_is(home: Path, tracker: Tracker) -> None:
    number = tracker.register(MODEL, "file:///store/a", DIGEST, None, {})
    again = Tracker(tracker.uri, "tests")
    assert [version.number for version in again.versions(MODEL)] == [number]
    assert again._experiment_id == tracker._experiment_id


def test_a_database_whose_making_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db.tmp").write_bytes(b"SQLite format 3\0 and no more")
    (tmp_path / "mlflow.db.tmp-journal").write_bytes(b"a journal of what was never finished")
    Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "tests")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_database_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none/mlflow\.db: there is no such database; .* --out"):
        Tracker(f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}", "tests", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but longer than a header of one" * 100)
    with pytest.raises(InfrastructureError, match="not a database"):
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "tests")


def test_a_uri_that_is_not_understood_is_refused() -> None:
    with pytest.raises(InputError, match="sqlite:///PATH"):
        Tracker("postgresql://somewhere", "tests")


def test_it_is_quiet_and_sends_nothing(tmp_path: Path) -> None:
    """In a process of its own: telemetry and logging are decided when MLflow is first imported."""
    code = f"""
import logging
from deepperception.tracking import Tracker
Tracker("sqlite:///{tmp_path / "mlflow.db"}", "tests")
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled() and get_telemetry_client() is None
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_full_disk_is_the_users_to_mend(tracker: Tracker, pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def full(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", None, Exception("database or disk is full"))

    monkeypatch.setattr(tracker._client, "log_batch", full)
    with pytest.raises(InputError, match=r"MLflow failed \(stage run\): the disk is full; free some space"):
        stage(tracker, pipeline, "full")
