from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the train extra")

from safetensors.torch import load_file

from deepperception.artifacts.checkpoints import Interface, read_interface
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context
from deepperception.errors import InputError
from deepperception.grounding import Box, answer_text, completion
from deepperception.grpo.config import DifficultyConfig, GrpoConfig
from deepperception.grpo.run import run
from deepperception.grpo.tasks import FindBox
from deepperception.progress import Progress

CONFIG = GrpoConfig(
    learning_rate=1e-2,
    max_steps=2,
    prompts_per_step=2,
    group_size=4,
    max_completion_length=8,
    kl_coefficient=0.04,
    difficulty=None,
    freeze_vision=True,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


def train(model: Path, data: Path, out: Path, *, interface: Interface | None = None, **settings: Any) -> Manifest:
    context = Context(seed=3, progress=Progress("grpo", io.StringIO()), recipe_hash="sha256:0", inputs={})
    config = CONFIG.model_copy(update=settings)
    return run(config, model=model, data=data, out=out, context=context, interface=interface)


def test_two_steps_leave_a_checkpoint_and_its_curves(
    random_checkpoint: Path, creature_rows: Path, tmp_path: Path
) -> None:
    manifest = train(random_checkpoint, creature_rows, tmp_path / "one")
    assert manifest.counts["prompts"] == 12
    assert read_interface(tmp_path / "one").prompt == "r1"
    curves = [json.loads(line) for line in (tmp_path / "one/evidence/curves.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curves] == [1, 2]
    assert all({"reward", "rewards/iou/mean", "rewards/format/mean", "kl"} <= point.keys() for point in curves)
    assert (
        load_file(tmp_path / "one/model.safetensors").keys()
        == load_file(random_checkpoint / "model.safetensors").keys()
    )
    assert train(random_checkpoint, creature_rows, tmp_path / "two").digest == manifest.digest


def test_prompts_that_fill_no_step_are_counted(random_checkpoint: Path, creature_rows: Path, tmp_path: Path) -> None:
    asked = Interface(box_step=50, max_pixels=6_272, max_new_tokens=24)
    manifest = train(random_checkpoint, creature_rows, tmp_path / "model", prompts_per_step=5, interface=asked)
    assert manifest.counts["prompts"] == 12
    assert manifest.counts["left_out_each_epoch"] == 2
    assert read_interface(tmp_path / "model") == asked.model_copy(update={"prompt": "r1"})


def test_fewer_prompts_than_a_step_takes_are_refused(
    random_checkpoint: Path, creature_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"rl\.parquet: 12 prompts are left.* than the 13 of grpo\.prompts_per_step"):
        train(random_checkpoint, creature_rows, tmp_path / "all", prompts_per_step=13)
    monkeypatch.setattr("deepperception.grpo.run.keep_learnable", lambda samples, *_, **__: (samples[:9], {}))
    said = r"9 prompts are left .*min_kept 8 allows that.*the 12 of grpo\.prompts_per_step; set that to 9 or less"
    with pytest.raises(InputError, match=said):
        train(random_checkpoint, creature_rows, tmp_path / "few", prompts_per_step=12, difficulty=DifficultyConfig())


def test_rewards_see_the_completion_and_its_row() -> None:
    target = Box(100, 100, 500, 500)
    right = completion(answer_text("Dankin", target), "so")
    replies = [[{"role": "assistant", "content": text}] for text in (right, "(100,100),(500,500)")]
    (iou, format), weights = FindBox().rewards(CONFIG.rewards)
    assert iou(completions=replies, target=[list(target.as_tuple())] * 2, prompts=[]) == [1.0, 0.0]
    assert format(completions=replies, prompts=[]) == [1.0, 0.0]
    assert weights == [1.0, 1.0]


@pytest.mark.parametrize(
    "settings, processes, shared",
    [
        ({}, 1, (8, 1)),
        ({}, 2, (4, 1)),
        ({"micro_batch": 2}, 2, (2, 2)),
        ({"micro_batch": 8}, 4, (2, 1)),
    ],
)
def test_a_step_is_shared_and_not_multiplied(settings: dict[str, int], processes: int, shared: tuple[int, int]) -> None:
    assert CONFIG.model_copy(update=settings).shared_by(processes) == shared


@pytest.mark.parametrize("settings, processes", [({}, 3), ({}, 16), ({"micro_batch": 4}, 16), ({"micro_batch": 3}, 2)])
def test_a_step_that_cannot_be_shared_is_refused(settings: dict[str, int], processes: int) -> None:
    with pytest.raises(InputError, match=f"cannot be shared evenly by {processes} processes"):
        CONFIG.model_copy(update=settings).shared_by(processes)


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"micro_batch": 5}, "micro_batch must divide"),
        ({"group_size": 1}, "greater than or equal to 2"),
        ({"difficulty": {"min_right": 4, "max_right": 3}}, "expected min_right <= max_right"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        GrpoConfig.model_validate(settings)
