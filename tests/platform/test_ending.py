"""The exit handler's word on a run."""

from __future__ import annotations

import socket

import pytest

from deepperception.infra import Infra
from deepperception.platform import attempts
from deepperception.platform.stages import execute
from deepperception.platform.workplace import Workplace
from deepperception.recipe import Recipe
from deepperception.tracking import Outbox, Tracker

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")


def end(recipe: Recipe, infra: Infra, state: str) -> None:
    facts = {"status": {"state": state, "message": "the component failed"}}
    execute("ending", recipe.to_json(), infra.to_json(), recipe.seed, facts)


@pytest.mark.parametrize(("state", "record"), [("FAILED", "FAILED"), ("CANCELLED", "KILLED"), ("SUCCEEDED", "RUNNING")])
def test_the_record_of_a_run_that_came_to_no_end_is_closed(
    recipe: Recipe, infra: Infra, state: str, record: str
) -> None:
    run_id = Workplace("base", recipe, infra, {}).run_id
    end(recipe, infra, state)
    assert Tracker(infra.tracking_uri, infra.experiment)._client.get_run(run_id).info.status == record


def test_it_says_which_stage_failed_and_why(
    recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(attempts.RUN, "run-1")
    attempts.remember(infra.work_dir, "sft", {"exit_code": 1, "message": "a photo is damaged."})
    end(recipe, infra, "FAILED")
    said = capsys.readouterr().err
    assert "sft failed with exit code 1: a photo is damaged." in said
    assert "the stages ended: FAILED the component failed" in said


def test_a_record_that_is_not_there_does_not_hide_how_the_run_ended(
    recipe: Recipe, infra: Infra, capsys: pytest.CaptureFixture[str]
) -> None:
    end(recipe, infra, "FAILED")
    said = capsys.readouterr().err
    assert "the stages ended: FAILED" in said
    assert "the record stays open" in said


def test_what_waits_for_mlflow_is_sent(recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with socket.socket() as holder:  # bound and not listening: nobody answers
        holder.bind(("127.0.0.1", 0))
        away = infra.model_copy(update={"tracking_uri": f"http://127.0.0.1:{holder.getsockname()[1]}"})
        execute("base", recipe.to_json(), away.to_json(), recipe.seed, {})
    assert Outbox(infra.work_dir).waiting() == 1
    end(recipe, infra, "SUCCEEDED")
    assert Outbox(infra.work_dir).waiting() == 0
