"""`deepperception promote` where the infra file names a place that serves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from deepperception.artifacts import Case, payload_digest, seal, write_cases
from deepperception.cli import cli
from deepperception.evaluation.answers import file_digest
from deepperception.platform import promote as module

if TYPE_CHECKING:
    from tests.platform.release.conftest import World

BOX = (0.0, 0.0, 500.0, 500.0)
Command = Callable[..., Result]


def evaluation(folder: Path, model: str, benchmark: Path, right: int) -> Path:
    """As the stage writes it: 200 cases, the first `right` of them right."""
    folder.mkdir(parents=True)
    iou = [float(number < right) for number in range(200)]
    about: dict[str, Any] = {"category": "bird", "seen": True, "entity": "wren", "target": BOX, "text": ""}
    read: dict[str, Any] = {"official": BOX, "robust": BOX, "form": "canonical"}
    cases = [
        Case(question_id=f"bird/{number:03}", official_iou=value, robust_iou=value, **about, **read)
        for number, value in enumerate(iou)
    ]
    write_cases(folder, cases)
    about_benchmark = {"file": benchmark.name, "digest": file_digest(benchmark), "cases": 200}
    metrics = {
        "benchmark": about_benchmark,
        "backend": {"engine": "e", "version": "1", "dtype": "d", "decoding": {}},
        "official": {"all": {"cases": 200, "accuracy": right / 200}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    inputs = {"model": model, "benchmark": about_benchmark["digest"]}
    seal(folder, kind="evaluation", inputs=inputs, recipe_hash="", seed=0)
    return folder


@pytest.fixture
def command(serving: World, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `promote` on the second model, which is right in 120 of 200 cases; the champion is in 50."""
    benchmark = tmp_path / "test.parquet"
    benchmark.write_bytes(b"rows")
    scored = evaluation(tmp_path / "scored", payload_digest(models[1]), benchmark, right=120)
    content = {
        "work_dir": str(tmp_path / "work"),
        "store": str(tmp_path / "store"),
        "tracking_uri": serving.tracker.uri,
        "experiment": "tests",
        "serving": {"poll_s": 0.03, "lease_s": 1.5},
    }
    (tmp_path / "infra.yaml").write_text(yaml.safe_dump(content))

    def evaluate_model(config: object, cases: Path, model: Path, out: Path, context: object) -> None:
        if not out.exists():
            evaluation(out, payload_digest(model), benchmark, right=50)

    monkeypatch.setattr(module, "evaluate_model", evaluate_model)

    def run(*more: str) -> Result:
        settings = ["promotion.golden=0", "promotion.release.min_requests=12", "promotion.release.steps=[50,100]"]
        arguments = ["promote", "bestiary", "--infra", str(tmp_path / "infra.yaml"), "--model", str(models[1])]
        arguments += ["--evidence", str(scored), "--benchmark", str(benchmark), *more]
        return CliRunner().invoke(cli, [*arguments, *(word for setting in settings for word in ("--set", setting))])

    return run


def test_the_better_model_is_released(serving: World, command: Command) -> None:
    with serving.traffic() as traffic:
        result = command()
    assert result.exit_code == 0, result.output
    assert "promoted: the candidate is better by +35.0 points on 200 cases" in result.output
    assert serving.serving() == {2: 100}
    assert serving.aliases() == {"champion": 2, "previous": 1, "candidate": None}
    assert traffic.failed == 0
    again = command()
    assert again.exit_code == 0 and "already champion" in again.output


def test_a_trial_prints_objects_and_changes_nothing(serving: World, command: Command) -> None:
    result = command("--dry-run")
    assert result.exit_code == 0, result.output
    shown = [each for each in yaml.safe_load_all(result.stdout) if each]
    assert [[entry["trafficPercent"] for entry in each["spec"].get("canary", [])] for each in shown] == [
        [0],
        [50],
        [100],
        [],
    ]
    assert "pass      gain" in result.stderr
    assert len(serving.api.written) == 1
    assert serving.aliases()["champion"] == 1


def test_a_gate_that_says_no_touches_no_cluster(serving: World, command: Command) -> None:
    result = command("--set", "promotion.min_gain=0.9")
    assert result.exit_code == 4
    assert (
        "version 1 stays champion: the candidate's gain is +35.0 points; it must exceed +90.0 points" in result.output
    )
    assert len(serving.api.written) == 1


def test_a_release_that_is_taken_back_exits_with_4_and_is_on_record(serving: World, command: Command) -> None:
    serving.behave(serving.candidate, crashes=True)
    result = command()
    assert result.exit_code == 4
    assert "version 2 was rolled back (its server does not run" in result.output
    assert "version 1 serves." in result.output
    (version,) = (each for each in serving.tracker.versions("deepperception") if each.number == 2)
    assert version.tags["release"].startswith("version 2 was rolled back")
    assert serving.aliases() == {"champion": 1, "previous": None, "candidate": None}
