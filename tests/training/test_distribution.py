"""Several processes train what one would train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the train extra")

from safetensors.torch import load_file
from services import training_ranks

from deepperception.artifacts.curves import read_curves
from deepperception.artifacts.manifest import read_manifest, verify

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.filterwarnings("ignore")]

# Sums of floats in another order. Measured on losses: 2e-6 of themselves.
LOSS_TOLERANCE = 1e-5
# Of the furthest that a weight moved: Adam makes much of a small gradient. Measured: 1e-4 (SFT), 1e-2 (GRPO).
WEIGHT_TOLERANCE = 0.05


@pytest.fixture(scope="module")
def alone(random_checkpoint: Path, creature_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    training_ranks.train_all(random_checkpoint, creature_rows, out)
    return out


@pytest.fixture(scope="module")
def together(random_checkpoint: Path, creature_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = str(Path(training_ranks.__file__))
    done = subprocess.run(
        [*command, script, str(random_checkpoint), str(creature_rows), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_the_losses_are_those_of_one_process(alone: Path, together: Path, stage: str) -> None:
    one, two = read_curves(alone / stage), read_curves(together / stage)
    assert [point["step"] for point in two] == [point["step"] for point in one]
    for name in {"loss", "grad_norm", "reward", "kl", "rewards/iou/mean"} & one[0].keys():
        curves = [[point[name] for point in curve] for curve in (one, two)]
        assert curves[1] == pytest.approx(curves[0], rel=LOSS_TOLERANCE, abs=LOSS_TOLERANCE), name
        assert any(curves[0]), f"{name} says nothing"


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_the_weights_are_those_of_one_process(alone: Path, together: Path, random_checkpoint: Path, stage: str) -> None:
    start, one, two = (
        load_file(folder / "model.safetensors") for folder in (random_checkpoint, alone / stage, together / stage)
    )
    assert one.keys() == two.keys()
    learned = max(float((one[name] - start[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert apart < WEIGHT_TOLERANCE * learned
    assert learned > 1e-3


@pytest.mark.parametrize("stage", ["sft", "grpo", "sampled"])
def test_the_first_process_writes_one_whole_artifact(together: Path, random_checkpoint: Path, stage: str) -> None:
    from transformers import AutoModelForImageTextToText

    manifest = verify(together / stage)
    assert (manifest.inputs["ranks"], manifest.backend["ranks"]) == ("2", 2)
    model, told = AutoModelForImageTextToText.from_pretrained(together / stage, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert {name for name, _ in model.named_parameters()} >= _trained(random_checkpoint)
    assert [path for path in together.iterdir() if path.name.endswith(".building")] == []


def test_the_filter_asked_about_every_prompt_once(together: Path) -> None:
    counts: dict[str, Any] = read_manifest(together / "sampled").counts
    assert sum(counts[f"right_{right}_of_2"] for right in range(3)) == counts["prompts"] == 12


def _trained(folder: Path) -> set[str]:
    from transformers import AutoModelForImageTextToText

    return {name for name, _ in AutoModelForImageTextToText.from_pretrained(folder).named_parameters()}


def test_the_curves_are_written_once(together: Path) -> None:
    lines = (together / "sft" / "evidence" / "curves.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
