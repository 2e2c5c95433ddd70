"""The commands beside `synthesize`, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from deepperception.artifacts.datasets import read_rows
from deepperception.cli import cli


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


SMALL = ["--set", "synthesis.rows={sft: 4, rl: 2, validation: 2, test: 3}", "--set", "synthesis.canvas={max_side: 96}"]


@pytest.fixture
def recipe(photo_root: Path, tmp_path: Path) -> list[object]:
    shutil.rmtree(photo_root / "fern")
    return ["photos", *SMALL, "--source", photo_root / "owl"]


def test_remake_writes_the_bytes_that_the_dataset_holds(recipe: list[object], tmp_path: Path) -> None:
    invoke("synthesize", *recipe, "--out", tmp_path / "data")
    sample = list(read_rows(tmp_path / "data" / "test.parquet"))[2]
    told = json.loads(invoke("remake", *recipe, "--file", "test", "--row", 2, "--out", tmp_path / "row.jpg"))
    assert (tmp_path / "row.jpg").read_bytes() == sample.image
    assert (told["question_id"], told["answer"]) == (sample.question_id, sample.answer)
    assert [source["id"] for source in told["sources"]] == [source.id for source in sample.sources]


def test_synthesize_stops_at_a_photo_that_is_in_the_benchmark(recipe: list[object], tmp_path: Path) -> None:
    invoke("synthesize", *recipe, "--out", tmp_path / "first")
    # A benchmark composed of the very photos that the second run is to train on.
    arguments = [*recipe, "--set", f"synthesis.leakage.benchmark={tmp_path / 'first' / 'test.parquet'}"]
    result = CliRunner().invoke(cli, [str(each) for each in ["synthesize", *arguments, "--out", tmp_path / "second"]])
    assert result.exit_code == 1
    assert "photos to train on are in the benchmark" in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "second").exists()
    pairs = json.loads((tmp_path / "second.leakage.json").read_text())["pairs"]
    assert pairs
    reason = ["--set", "synthesis.leakage.allowed_because=only to show that it can be done"]
    invoke("synthesize", *arguments, *reason, "--out", tmp_path / "second")
    card = json.loads((tmp_path / "second" / "card.json").read_text())["leakage"]
    assert (card["checked"], card["verdict"], card["pairs"]) == (True, "overridden", pairs)
