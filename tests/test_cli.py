"""The command line as a user meets it: help, exit codes, and errors of one sentence."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from deepperception import errors
from deepperception.artifacts import Case, Interface, Manifest, write_cases
from deepperception.cli import cli

COMMANDS = (
    "check", "run", "submit", "status", "synthesize", "benchmark", "sft", "grpo", "evaluate", "compare", "analyze",
    "promote", "rollback", "serve", "predict", "gc", "remake", "import-released",
)  # fmt: skip
TOUCH_A_CLUSTER = ("submit", "promote", "rollback", "gc")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def assert_one_sentence(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr


def test_it_has_exactly_these_commands() -> None:
    assert set(cli.commands) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_is_read_and_written(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    assert re.search(r"[Rr]eads|With RUN", text)
    assert re.search(r"[Ww]rites|removes", text)


@pytest.mark.parametrize("name", TOUCH_A_CLUSTER)
def test_what_touches_a_cluster_can_be_tried(name: str) -> None:
    assert "--dry-run" in run(name, "--help").output


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"sft": {"lerning_rate": 1}}, ["recipe.yaml", "sft.lerning_rate", "did you mean 'learning_rate'?"]),
        ({"sft": {"learning_rate": -1}}, ["recipe.yaml", "sft.learning_rate", "greater than 0", "-1"]),
        ({"model": {}}, ["recipe.yaml", "model.base"]),
        ({"name": "Not A Name"}, ["recipe.yaml", "name"]),
    ],
)
def test_a_recipe_with_a_fault_is_refused(tmp_path: Path, content: dict[str, Any], parts: list[str]) -> None:
    whole = {"name": "tests", "model": {"base": "x"}} | {s: {} for s in ("synthesis", "sft", "grpo", "evaluation")}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(whole | {"promotion": {}} | content))
    assert_one_sentence(run("check", path), *parts)
    assert_one_sentence(run("run", path, "--out", tmp_path / "run"), *parts)
    assert not (tmp_path / "run").exists()


def wrong_inputs(tmp_path: Path) -> dict[str, tuple[list[str | Path], list[str]]]:
    empty, text = tmp_path / "empty", tmp_path / "text.jpg"
    return {
        "no such recipe": (["check", "bestiery"], ["bestiery", "did you mean 'bestiary'?"]),
        "no such file": (["check", tmp_path / "none.yaml"], ["none.yaml", "no such file"]),
        "no such infra": (["check", "bestiary", "--infra", "lapdog"], ["lapdog", "did you mean 'laptop'?"]),
        "not a setting": (["check", "bestiary", "--set", "seed"], ["--set seed", "section.key=value"]),
        "negative seed": (["check", "bestiary", "--seed", "-1"], ["seed", "-1"]),
        "no photos": (["check", "photos", "--source", tmp_path / "none"], ["none", "no such folder"]),
        "no checkpoint": (["serve", "--model", empty], ["empty", "config.json"]),
        "no model there": (["predict", "--model", tmp_path / "none", "--image", text, "--entity", "x"], ["none"]),
        "no data": (["sft", "bestiary", "--model", empty, "--data", empty, "--out", tmp_path / "o"], ["config.json"]),
        "no benchmark": (
            ["evaluate", "--benchmark", tmp_path / "none.parquet", "--predictions", text, "--out", tmp_path / "o"],
            ["none.parquet"],
        ),
        "no evaluations": (["compare", empty, empty], ["empty", "no evaluation"]),
        "no run": (["status", tmp_path / "none"], ["none", "no run here"]),
        "no run to sweep": (["gc", "--out", tmp_path / "none"], ["none", "--out"]),
        "no place known": (["rollback"], ["--out"]),
        "no cluster": (["submit", "bestiary"], ["runner: 'local'", "--infra"]),
        "unwritable": (["synthesize", "bestiary", "--out", text / "folder"], ["text.jpg"]),
    }


@pytest.mark.parametrize("name", wrong_inputs(Path()))
def test_wrong_input_gets_one_sentence(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no picture")
    arguments, parts = wrong_inputs(tmp_path)[name]
    assert_one_sentence(run(*arguments), *parts)


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["check"],
        ["serve", "--model", "x", "--port", "70000"],
        ["evaluate", "--benchmark", "x", "--out", "y"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("a sentence."), 1),
        (errors.InfrastructureError("a sentence."), 3),
        (errors.GateRefused("a sentence."), 4),
        (errors.Preempted("a sentence."), 75),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 1),
    ],
)
def test_every_error_has_its_code(error: Exception, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setitem(cli.commands, "check", click.Command("check", callback=fail))
    result = run("check")
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_bug_stays_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a user can mend becomes a sentence; the rest needs its traceback."""

    def fail() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setitem(cli.commands, "check", click.Command("check", callback=fail))
    assert isinstance(run("check").exception, OSError)


STOPPED_AT_WORK = """
import click, time
from deepperception.cli import cli, main

def work():
    print("working", flush=True)
    try:
        time.sleep(60)
    except Exception:  # as libraries do around a file that they find damaged
        print("went on")

cli.commands["check"] = click.Command("check", callback=work)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_says_how_to_go_on(number: signal.Signals) -> None:
    command = [sys.executable, "-c", STOPPED_AT_WORK, "check"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (75, "", "error: stopped; run again to go on.\n")


def test_a_finished_command_leaves_signals_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run("status")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_the_recipe_says_how_the_trained_model_is_asked(
    name: str, creature_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="needs the train extra")
    told: dict[str, Any] = {}

    def stage(_: Any, **given: Any) -> Manifest:
        told.update(given)
        raise errors.Preempted("seen enough.")

    monkeypatch.setattr(f"deepperception.{name}.run.run", stage)
    base = "package://deepperception.bestiary/base"
    where = ["--model", base, "--data", creature_rows, "--out", tmp_path / "out"]
    assert run(name, "photos", *where, "--set", "model.box_step=50").exit_code == 75
    assert told["interface"] == Interface(prompt="bare", box_step=50, max_pixels=12_544, max_new_tokens=96)


def test_compare_prints_the_table(tmp_path: Path) -> None:
    for name, right in (("a", 4), ("b", 9)):
        folder = tmp_path / name
        folder.mkdir()
        write_cases(folder, (_case(number, number < right) for number in range(10)))
        content = {"benchmark": {"digest": "d"}, "backend": {"engine": "e"}, "official": {}}
        (folder / "metrics.json").write_text(json.dumps(content))
    result = run("compare", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 0, result.output
    assert "right in %" in result.output
    assert ["all", "10", "40.0", "90.0"] in [line.split()[:4] for line in result.output.splitlines()]


def test_submit_can_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("submit", "bestiary", "--seed", "5", "--dry-run")
    assert result.exit_code == 0, result.output
    package, *_, request = yaml.safe_load_all(result.output)
    assert package["pipelineInfo"]["name"] == "deepperception"
    assert request["run"].startswith("bestiary-5-")
    assert set(request["arguments"]) == set(package["root"]["inputDefinitions"]["parameters"])


def _case(number: int, right: bool) -> Case:
    box = (0.0, 0.0, 500.0, 500.0)
    return Case(
        question_id=f"bird/{number}",
        category="bird",
        seen=True,
        entity="wren",
        target=box,
        text="",
        official=box,
        official_iou=float(right),
        robust=box,
        robust_iou=float(right),
        form="canonical",
    )
