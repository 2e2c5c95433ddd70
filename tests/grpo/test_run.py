from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the train extra")

from safetensors.torch import load_file

from deepperception.artifacts.checkpoints import read_interface
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context
from deepperception.grounding import Box, answer_text, completion
from deepperception.grpo.config import GrpoConfig
from deepperception.grpo.run import reward_functions, run
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


def train(model: Path, data: Path, out: Path) -> Manifest:
    context = Context(seed=3, progress=Progress("grpo", io.StringIO()), recipe_hash="sha256:0", inputs={})
    return run(CONFIG, model=model, data=data, out=out, context=context)


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


def test_rewards_see_the_completion_and_its_row() -> None:
    target = Box(100, 100, 500, 500)
    right = completion(answer_text("Dankin", target), "so")
    replies = [[{"role": "assistant", "content": text}] for text in (right, "(100,100),(500,500)")]
    (iou, format), weights = reward_functions(CONFIG)
    assert iou(completions=replies, target=[list(target.as_tuple())] * 2, prompts=[]) == [1.0, 0.0]
    assert format(completions=replies, prompts=[]) == [1.0, 0.0]
    assert weights == [1.0, 1.0]


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
