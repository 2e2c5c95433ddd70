"""Records in a real MLflow: the same on a database file and on a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepperception.tracking import Outbox, Pipeline, Record, Tracker

DIGEST = "sha256:" + "a" * 64
Records = Callable[..., Record]


def run_of(tracker: Tracker, run_id: str) -> Any:
    return tracker._client.get_run(run_id)


def children(tracker: Tracker, parent: str) -> list[Any]:
    found = tracker._client.search_runs([tracker.runs.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    return list(found)


def test_a_pipeline_run_is_found_again_by_its_key(tracker: Tracker, pipeline: Pipeline) -> None:
    first = tracker.pipeline_run(pipeline)
    assert tracker.pipeline_run(pipeline) == first
    assert tracker.pipeline_run(replace(pipeline, key="another key")) != first
    run = run_of(tracker, first)
    assert run.data.params == {"seed": "3", "sft.epochs": "1"}
    assert (run.info.run_name, run.info.status, run.data.tags["recipe"]) == ("demo", "RUNNING", "bestiary")


def test_a_kill_before_the_params_leaves_none_out(
    tracker: Tracker, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tracker._client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tracker.pipeline_run(pipeline)
    run_id = tracker.pipeline_run(pipeline)
    assert run_of(tracker, run_id).data.params == {"seed": "3", "sft.epochs": "1"}
    assert len(tracker.runs._find_all(pipeline.key)) == 1


def test_two_steps_that_began_one_pipeline_at_the_same_time_end_up_in_one_run(
    tracker: Tracker, pipeline: Pipeline, record: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other step saw none either, began its own, and has put its record below that one already."""
    mine = tracker.runs.write(record("mine"), [])
    with monkeypatch.context() as patched:
        patched.setattr(tracker.runs, "_find_pipelines", lambda _: [run_of(tracker, double)])
        double = tracker.runs._create("demo", {"deepperception.key": pipeline.key})
        theirs = tracker.runs.write(record("theirs"), [])
    assert len(tracker.runs._find_all(pipeline.key)) == 2
    assert tracker.runs.write(record("theirs"), []) == theirs
    (top,) = tracker.runs._find_all(pipeline.key)
    assert {run.info.run_id for run in children(tracker, top.info.run_id)} == {mine, theirs}


def test_a_run_that_broke_off_is_closed_until_it_goes_on(tracker: Tracker, pipeline: Pipeline, record: Records) -> None:
    run_id = tracker.pipeline_run(pipeline)
    for status in ("FAILED", "KILLED"):
        tracker.break_off(pipeline.key, status)  # type: ignore[arg-type]
        assert run_of(tracker, run_id).info.status == status
        tracker.pipeline_run(pipeline)
        assert run_of(tracker, run_id).info.status == "RUNNING"
    tracker.break_off("never began", "FAILED")
    tracker.runs.write(record(kind="end", key="end", time_ms=10_000), [])
    tracker.runs.write(record("late", time_ms=9_000), [])
    assert run_of(tracker, run_id).info.status == "FINISHED", "a record from before the end reopens nothing"
    tracker.runs.write(record("new", time_ms=11_000), [])
    assert run_of(tracker, run_id).info.status == "RUNNING"


def test_a_stage_run_holds_what_it_was_given(tracker: Tracker, record: Records, outbox: Outbox, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>done</p>")
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "accuracy.png").write_bytes(b"png")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    given = record(
        params={"sft": {"learning_rate": 2e-4, "layers": [1, 2], "note": "x" * 7000}, "seed": 0},
        metrics={"accuracy": 0.75},
        curves=[{"step": step, "loss": 1 / step, "phase": "warm", "reward": None} for step in range(1, 1502)],
        tags={"digest": DIGEST},
    )
    outbox.put(given, [tmp_path / "report.html", tmp_path / "charts", tmp_path / "model.safetensors"])
    run_id = outbox.send(tracker.runs).run_ids[given.key]
    run = run_of(tracker, run_id)
    assert (run.info.status, run.info.run_name, run.info.start_time, run.info.end_time) == (
        "FINISHED", "sft", 1_000, 2_000,
    )  # fmt: skip
    assert run_of(tracker, run.data.tags["mlflow.parentRunId"]).info.run_name == "demo"
    assert run.data.tags["digest"] == DIGEST
    assert run.data.tags["left_out"] == "too large for MLflow: model.safetensors"
    assert run.data.params["sft.learning_rate"] == "0.0002"
    assert run.data.params["sft.layers"] == "[1, 2]"
    assert len(run.data.params["sft.note"]) == 6000
    assert run.data.metrics == {"accuracy": 0.75, "loss": 1 / 1501}
    loss = tracker._client.get_metric_history(run_id, "loss")
    assert [point.step for point in loss] == list(range(1, 1502)), "more points than one request may hold"
    assert [file.path for file in tracker._client.list_artifacts(run_id)] == ["charts", "report.html"]
    fetched = tracker._client.download_artifacts(run_id, "report.html", str(tmp_path / "work"))
    assert Path(fetched).read_text() == "<p>done</p>"


def test_writing_a_record_twice_leaves_one(tracker: Tracker, record: Records) -> None:
    first = tracker.runs.write(record(curves=[{"step": 1, "loss": 2.0}]), [])
    later = record(curves=[{"step": 1, "loss": 2.0}], time_ms=5_000, metrics={"accuracy": 0.5, "wall_s": 3.0})
    assert tracker.runs.write(later, []) == first
    assert len(tracker._client.get_metric_history(first, "loss")) == 1
    elsewhere = replace(record(), pipeline=Pipeline(f"{record().pipeline.key} again", "demo"))
    assert tracker.runs.write(elsewhere, []) != first, "each pipeline has its own record"


@pytest.mark.parametrize("cut", ["create_run", "log_batch", "log_artifact", "set_terminated"])
@pytest.mark.parametrize("same", [True, False], ids=["sent again", "made again"])
def test_a_record_cut_off_anywhere_is_written_once(
    tracker: Tracker, record: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str, same: bool
) -> None:
    """The request arrives, and the writer dies of it: the worst moment."""
    (tmp_path / "card.json").write_text("{}")
    given = record(curves=[{"step": 1, "loss": 2.0}])
    original = getattr(tracker._client, cut)

    def dying(*arguments: Any, **more: Any) -> None:
        original(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tracker._client, cut, dying)
        with pytest.raises(KeyboardInterrupt):
            tracker.runs.write(given, [tmp_path / "card.json"])
    again = given if same else replace(given, time_ms=7_000, metrics={"accuracy": 0.5, "wall_s": 9.0})
    run_id = tracker.runs.write(again, [tmp_path / "card.json"])
    (pipeline,) = tracker.runs._find_all(given.pipeline.key)
    (run,) = children(tracker, pipeline.info.run_id)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert run.data.params == {"learning_rate": "0.1"}
    for name in ("loss", "accuracy"):
        assert len(tracker._client.get_metric_history(run_id, name)) == 1


def test_a_writer_whose_run_was_dropped_takes_the_one_that_stayed(
    tracker: Tracker, record: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that share no work folder: the second finishes while the first is still writing."""
    slow, fast, original = record(), record(time_ms=2_500), tracker._client.log_batch
    written: list[str] = []

    def overtaken(*arguments: Any, **more: Any) -> None:
        monkeypatch.setattr(tracker._client, "log_batch", original)
        written.append(tracker.runs.write(fast, []))
        original(*arguments, **more)

    tracker.pipeline_run(slow.pipeline)
    monkeypatch.setattr(tracker._client, "log_batch", overtaken)
    assert tracker.runs.write(slow, []) == written[0]
    (pipeline,) = tracker.runs._find_all(slow.pipeline.key)
    assert [run.info.run_id for run in children(tracker, pipeline.info.run_id)] == written


def test_the_end_twice_is_the_same_as_once(tracker: Tracker, record: Records, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>done</p>")
    for time_ms in (3_000, 4_000):
        end = record(kind="end", key="end", metrics={"accuracy": 0.9}, tags={"data": DIGEST}, time_ms=time_ms)
        run_id = tracker.runs.write(end, [tmp_path / "report.html"])
    run = run_of(tracker, run_id)
    assert (run.info.status, run.data.tags["data"]) == ("FINISHED", DIGEST)
    assert len(tracker._client.get_metric_history(run_id, "accuracy")) == 1


class TestAttached:
    """Kubeflow's own integration begins a run for the pipeline and one below it for each task."""

    @pytest.fixture
    def root(self, tracker: Tracker) -> str:
        elsewhere = tracker._client.get_experiment_by_name("KFP-Default")
        place = elsewhere.experiment_id if elsewhere else tracker._client.create_experiment("KFP-Default")
        return str(tracker._client.create_run(place, run_name="the runner's").info.run_id)

    @pytest.fixture
    def task(self, tracker: Tracker, root: str) -> str:
        place, tags = run_of(tracker, root).info.experiment_id, {"mlflow.parentRunId": root}
        return str(tracker._client.create_run(place, run_name="a task", tags=tags).info.run_id)

    def test_the_record_goes_into_the_run_of_the_task(
        self, tracker: Tracker, record: Records, root: str, task: str
    ) -> None:
        given = record(attach_to=task, tags={"digest": DIGEST})
        assert [tracker.runs.write(given, []) for _ in range(2)] == [task, task]
        run, above = run_of(tracker, task), run_of(tracker, root)
        assert (run.info.run_name, run.info.status) == ("a task", "RUNNING"), "the runner ends what it began"
        assert (run.data.metrics, run.data.tags["digest"]) == ({"accuracy": 0.5}, DIGEST)
        assert len(tracker._client.get_metric_history(task, "accuracy")) == 1
        assert above.data.params == {"seed": "3", "sft.epochs": "1"}
        assert tracker.runs._find_all(given.pipeline.key) == [], "no run of our own"
        assert tracker.pipeline_run(given.pipeline, task) == root
        tracker.runs.write(record(kind="end", key="end", metrics={"grpo.accuracy": 1.0}, attach_to=task), [])
        ended = run_of(tracker, root)
        assert (ended.info.status, ended.data.metrics) == ("RUNNING", {"grpo.accuracy": 1.0})

    def test_two_records_of_one_task_keep_apart(self, tracker: Tracker, record: Records, task: str) -> None:
        for split, accuracy in (("validation", 0.25), ("test", 0.75)):
            name = f"evaluation-sft-{split}"
            given = record(f"{name} 1", stage="evaluation-sft", name=name, metrics={"accuracy": accuracy})
            assert tracker.runs.write(replace(given, attach_to=task, tags={"digest": split}), []) == task
        run = run_of(tracker, task)
        assert run.data.metrics == {"validation.accuracy": 0.25, "test.accuracy": 0.75}
        assert run.data.tags["test.digest"] == "test"

    def test_a_run_that_is_not_here_or_is_another_steps_is_left_alone(
        self, tracker: Tracker, record: Records, root: str
    ) -> None:
        elsewhere = tracker.runs.write(record("one", attach_to="0" * 32), [])
        assert run_of(tracker, elsewhere).info.run_name == "sft"
        assert tracker.runs.write(record("two", attach_to=root), []) == root
        other = tracker.runs.write(record("three", stage="grpo", name="grpo", attach_to=root), [])
        assert run_of(tracker, other).info.run_name == "grpo"
        assert run_of(tracker, root).data.tags["deepperception.stage"] == "sft"


def test_a_trial_stands_between_the_recipe_and_its_stages(
    tracker: Tracker, pipeline: Pipeline, record: Records
) -> None:
    trial = Pipeline(f"{pipeline.key} 1", "trial-1", {"seed": 1}, {"trial": "trial-1"}, pipeline)
    stage = tracker.runs.write(record(pipeline=trial), [])
    own = tracker._client.get_run(stage).data.tags["mlflow.parentRunId"]
    run = tracker._client.get_run(own)
    assert (run.info.run_name, run.data.params, run.info.status) == ("trial-1", {"seed": "1"}, "RUNNING")
    top = tracker._client.get_run(run.data.tags["mlflow.parentRunId"])
    assert top.data.tags["deepperception.key"] == pipeline.key
    tracker.break_off(pipeline.key, "FAILED")
    assert tracker._client.get_run(own).info.status == "FAILED"
    assert tracker._client.get_run(stage).info.status == "FINISHED"


def test_in_a_run_that_the_runner_keeps_a_trial_has_none_of_ours(
    tracker: Tracker, pipeline: Pipeline, record: Records
) -> None:
    client, experiment = tracker._client, tracker.runs.experiment_id
    top = client.create_run(experiment).info.run_id
    task = client.create_run(experiment, tags={"mlflow.parentRunId": top}).info.run_id
    trial = Pipeline(f"{pipeline.key} 1", "kept-elsewhere", {"seed": 1}, {"trial": "kept-elsewhere"}, pipeline)
    assert tracker.runs.write(record(pipeline=trial, attach_to=task), []) == task
    assert client.get_run(top).data.tags["deepperception.key"] == pipeline.key
    assert not [run for run in client.search_runs([experiment]) if run.info.run_name == "kept-elsewhere"]
