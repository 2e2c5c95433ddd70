"""The command as a user runs it, every stage real and small (`make e2e`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import check_checkpoint, read_manifest

pytestmark = pytest.mark.e2e

STAGES = ("base", "synthesis", "evaluation-base", "sft", "cot_sft", "grpo", "evaluation-grpo", "promotion", "report")
COMMAND = [str(Path(sys.executable).with_name("deepperception")), "run"]
SHARED = Path(os.environ.get("DEEPPERCEPTION_SHARED", Path(__file__).resolve().parents[3] / "shared"))
SMALL = (
    "synthesis.rows={sft: 48, rl: 16, validation: 16, test: 32}",
    "synthesis.source.options.photos_per_entity=20",
    "sft.max_steps=3",
    "grpo.max_steps=2",
    "grpo.prompts_per_step=4",
    "grpo.group_size=4",
    "grpo.difficulty=null",
    "promotion.min_cases=16",
)


def arguments(recipe: str, out: Path, *more: str) -> list[str]:
    return [*COMMAND, recipe, "--out", str(out), *more]


def small(out: Path) -> list[str]:
    return arguments("bestiary", out, *(part for setting in SMALL for part in ("--set", setting)))


def result(out: Path) -> dict[str, Any]:
    """The summary, without what may differ between two runs: times, places, MLflow's ids."""
    content = json.loads((out / "summary.json").read_text(encoding="utf-8").replace(str(out), "OUT"))
    return {key: value for key, value in content.items() if key not in ("wall_s", "mlflow")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from beginning to end."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = subprocess.run(small(out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_leaves_scores_a_model_a_report_and_a_prediction(whole: Path) -> None:
    summary = result(whole)
    assert set(summary["stages"]) == {"base", "sft", "cot_sft", "grpo"}
    for scores in summary["stages"].values():
        assert scores["all"]["cases"] == summary["cases"] == 32
        assert scores["seen"]["cases"] + scores["unseen"]["cases"] == 32
        low, high = scores["all"]["ci95"]
        assert low <= scores["all"]["accuracy"] <= high
    promoted = json.loads((whole / "summary.json").read_text())["promoted"]
    check_checkpoint(Path(promoted["path"]))
    assert read_manifest(Path(promoted["path"])).digest == promoted["digest"]
    assert summary["prediction"]["text"]
    assert (whole / "prediction" / "answer.png").stat().st_size > 0
    assert "<html" in (whole / "work" / "report" / "report.html").read_text(encoding="utf-8")


def test_killed_in_stage_after_stage_it_goes_on_to_the_same_result(whole: Path, tmp_path: Path) -> None:
    out, screen = tmp_path / "run", tmp_path / "screen"
    for stage in STAGES:
        with screen.open("w") as stream:
            process = subprocess.Popen(small(out), stdout=stream, stderr=stream)
            while f"{stage}: started" not in screen.read_text():
                assert process.poll() is None, screen.read_text()
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
    last = subprocess.run(small(out), capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    for stage in STAGES[:-2]:
        assert f"{stage}: reusing" in last.stderr
    assert result(out) == result(whole)


def test_run_again_it_changes_nothing(whole: Path) -> None:
    def stored() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (whole / "store" / "sha256").rglob("*") if path.is_file()}

    before, first = stored(), result(whole)
    done = subprocess.run(small(whole), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert result(whole) == first
    assert stored() == before


def test_real_photos_take_the_same_path(tmp_path: Path) -> None:
    photos = SHARED / "photos"
    if not photos.is_dir():
        pytest.skip(f"{photos}: the folder of example photos is not here")
    out = tmp_path / "run"
    done = subprocess.run(
        arguments("photos", out, "--source", str(photos)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert result(out)["prediction"]["entity"] in ("raccoon", "kangaroo")
