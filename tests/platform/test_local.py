"""The pipeline through KFP's own runner, as far as it goes without a model."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from deepperception.artifacts import read_manifest
from deepperception.errors import InputError, Preempted
from deepperception.infra import Infra
from deepperception.platform import local
from deepperception.platform.local import run_pipeline
from deepperception.platform.stages import execute
from deepperception.platform.workplace import Workplace
from deepperception.recipe import Recipe, load_recipe
from deepperception.tracking import Outbox, Tracker

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")


def recorded(infra: Infra) -> str:
    """What became of the pipeline's run."""
    tracker = Tracker(infra.tracking_uri, infra.experiment)
    (run,) = tracker._client.search_runs([tracker.runs.experiment_id], filter_string="run_name = 'tests'")
    return str(run.info.status)


def test_a_users_error_in_a_step_is_the_runs_error_and_nothing_is_lost(
    tmp_path: Path, recipe: Recipe, infra: Infra, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    execute("base", recipe.to_json(), infra.to_json(), recipe.seed, {})  # KFP's order of these two steps is chance
    finished = read_manifest(infra.work_dir / "base")
    with pytest.raises(InputError, match=r"2\.jpg") as told:
        run_pipeline(recipe, infra, out)
    assert "\n" not in str(told.value)
    shown = capsys.readouterr()
    assert "synthesis: started" in shown.err
    assert "KFP" not in shown.err + shown.out
    assert "KFP Executor" in (out / "logs" / "run.log").read_text()
    assert read_manifest(infra.work_dir / "base") == finished
    assert recorded(infra) == "FAILED"


@pytest.mark.parametrize(
    ("error", "status"), [(Preempted("stopped."), "KILLED"), (InputError("a fault."), "FAILED"), (KeyError(), "FAILED")]
)
def test_a_run_that_ends_early_says_so_on_its_record(
    recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def broken_off(*_: object) -> None:
        assert Workplace("base", recipe, infra, {}).run_id
        raise error

    monkeypatch.setattr(local, "_run_steps", broken_off)
    with pytest.raises(type(error)) as told:
        run_pipeline(recipe, infra, infra.work_dir.parent)
    assert told.value is error
    assert recorded(infra) == status


def test_a_record_that_cannot_be_closed_hides_nothing(
    recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: object) -> None:
        (infra.work_dir.parent / "mlflow.db").write_text("no database" * 100)
        raise InputError("a fault.")

    monkeypatch.setattr(local, "_run_steps", broken_off)
    with pytest.raises(InputError, match=r"a fault\."):
        run_pipeline(recipe, infra, infra.work_dir.parent)


@pytest.mark.parametrize("ends_well", [True, False])
def test_what_a_dead_server_did_not_take_is_sent_at_the_end_of_the_run(
    recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch, ends_well: bool
) -> None:
    def steps(*_: object) -> None:
        assert Workplace("base", recipe, infra, {}).run_id
        with socket.socket() as holder:  # bound and not listening: nobody answers
            holder.bind(("127.0.0.1", 0))
            away = infra.model_copy(update={"tracking_uri": f"http://127.0.0.1:{holder.getsockname()[1]}"})
            Workplace("base", recipe, away, {}).records.stage_run("base", "base 1")
        assert Outbox(infra.work_dir).waiting() == 1
        if not ends_well:
            raise InputError("a fault.")

    monkeypatch.setattr(local, "_run_steps", steps)
    monkeypatch.setattr(local, "summarize", lambda *_: {})
    with contextlib.nullcontext() if ends_well else pytest.raises(InputError, match=r"a fault\."):
        run_pipeline(recipe, infra, infra.work_dir.parent)
    assert Outbox(infra.work_dir).waiting() == 0
    tracker = Tracker(infra.tracking_uri, infra.experiment)
    (run,) = tracker.runs._find_all("base 1")
    assert run.info.status == "FINISHED"


def test_what_a_step_said_last_reaches_the_run(recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    def flow(**_: object) -> None:
        print("OSError: [Errno 28] No space left on device: 'failure.json.tmp'")
        raise RuntimeError("the step failed; KFP says no more")

    monkeypatch.setattr("deepperception.pipelines.deepperception.flow", flow)
    with pytest.raises(InputError, match="work: the disk is full; free some space"):
        run_pipeline(recipe, infra, infra.work_dir.parent)


def test_faults_that_can_be_seen_at_once_stop_it_before_it_starts(
    tmp_path: Path, recipe_file: Path, infra: Infra
) -> None:
    recipe = load_recipe(recipe_file, [f"model.base={tmp_path / 'nowhere'}"])
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        run_pipeline(recipe, infra, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_it_runs_only_what_is_for_this_machine(recipe: Recipe, infra: Infra, tmp_path: Path) -> None:
    elsewhere = infra.model_copy(update={"runner": "kubeflow"})
    with pytest.raises(InputError, match="kubeflow"):
        run_pipeline(recipe, elsewhere, tmp_path / "run")
