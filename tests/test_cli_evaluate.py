"""`evaluate`: the settings that take the place of what a checkpoint says about itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deepperception.artifacts import read_metrics
from deepperception.artifacts.checkpoints import INTERFACE
from deepperception.artifacts.choice_rows import write_choices
from deepperception.cli import cli
from deepperception.grounding import ChoiceSample, choice_question


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])


def test_a_foreign_checkpoint_is_asked_as_the_user_says(
    random_checkpoint: Path, creature_rows: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for file in random_checkpoint.iterdir():
        if file.name != INTERFACE:
            (foreign / file.name).symlink_to(file)
    command = ["--benchmark", creature_rows / "rl.parquet", "--model", foreign, "--out", tmp_path / "out"]

    asked = ["--prompt", "r1", "--max-new-tokens", 3, "--max-pixels", 12_544]
    result = evaluate(*command, *asked)
    assert result.exit_code == 0, result.output
    backend = read_metrics(tmp_path / "out")["backend"]
    assert (backend["prompt"], backend["decoding"]["max_new_tokens"], backend["max_pixels"]) == ("r1", 3, 12_544)
    assert "reusing" in evaluate(*command, *asked).stderr
    assert "made again" in evaluate(*command, *asked[:4], "--max-pixels", 6_272).stderr


@pytest.mark.parametrize("option", [("--prompt", "r1"), ("--max-new-tokens", 5), ("--temperature", 0.5)])
def test_replies_made_elsewhere_were_asked_for_already(option: tuple[str, str | int]) -> None:
    result = evaluate("--benchmark", "x", "--predictions", "y", "--out", "z", *option)
    assert result.exit_code == 2
    assert "is for --model" in result.stderr


@pytest.mark.parametrize(
    "option", [("--prompt", "r2"), ("--max-new-tokens", 0), ("--max-pixels", 100), ("--samples", 0)]
)
def test_settings_that_no_model_takes_are_usage(option: tuple[str, str | int]) -> None:
    assert evaluate("--benchmark", "x", "--model", "y", "--out", "z", *option).exit_code == 2


def test_samples_without_chance_are_one_sentence() -> None:
    result = evaluate("--benchmark", "x", "--model", "y", "--out", "z", "--samples", 2)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "need a temperature above 0" in result.stderr


def test_a_file_of_choices_is_scored_by_letters_and_leaves_a_page(tmp_path: Path) -> None:
    names = ("owl", "wren", "robin", "rook")
    row = ChoiceSample(
        question_id="bird/0",
        category="bird",
        question=choice_question("bird", names),
        choices=names,
        answer="C",
        image=b"no picture",
    )
    write_choices(tmp_path / "test.parquet", [row])
    (tmp_path / "said.jsonl").write_text('{"question_id": "bird/0", "text": "<answer>C</answer>"}\n')
    files = ["--benchmark", tmp_path / "test.parquet", "--predictions", tmp_path / "said.jsonl"]
    result = evaluate(*files, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "Right letters" in result.output
    assert "it cannot be read" in (tmp_path / "out" / "report.html").read_text()
    refused = evaluate("--benchmark", tmp_path / "test.parquet", "--model", "x", "--shard", "0/2", "--out", tmp_path)
    assert (refused.exit_code, "in one piece" in refused.stderr) == (2, True)
