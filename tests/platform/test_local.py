"""The pipeline through KFP's own runner, as far as it goes without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepperception.artifacts import read_manifest
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.platform.local import run_pipeline
from deepperception.recipe import Recipe, load_recipe

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")


def test_a_users_error_in_a_step_is_the_runs_error_and_nothing_is_lost(
    tmp_path: Path, recipe: Recipe, infra: Infra, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"2\.jpg") as told:
        run_pipeline(recipe, infra, out)
    assert "\n" not in str(told.value)
    shown = capsys.readouterr()
    assert "base: done" in shown.err
    assert "KFP" not in shown.err + shown.out
    assert "KFP Executor" in (out / "logs" / "run.log").read_text()
    assert read_manifest(infra.work_dir / "base").kind == "model"


def test_faults_that_can_be_seen_at_once_stop_it_before_it_starts(
    tmp_path: Path, recipe_file: Path, infra: Infra
) -> None:
    recipe = load_recipe(recipe_file, [f"model.base={tmp_path / 'nowhere'}"])
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        run_pipeline(recipe, infra, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("runner", ["docker", "kubeflow"])
def test_it_runs_only_what_is_for_this_machine(recipe: Recipe, infra: Infra, tmp_path: Path, runner: str) -> None:
    elsewhere = infra.model_copy(update={"runner": runner})
    with pytest.raises(InputError, match=runner):
        run_pipeline(recipe, elsewhere, tmp_path / "run")
