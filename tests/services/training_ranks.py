"""Both trainings at a handful of steps, by one process or by several: `torchrun ... THIS MODEL DATA OUT`.

A policy's completions follow from the state of a process's random numbers, so that two processes sample others than
one. What the trainings are compared by therefore draws its completions from the picture and the place in its group.
"""

from __future__ import annotations

import hashlib
import random
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

from deepperception.artifacts.checkpoints import read_interface
from deepperception.artifacts.stage import Context
from deepperception.grpo import run as grpo_run
from deepperception.grpo import trainer as grpo_trainer
from deepperception.grpo.config import DifficultyConfig, GrpoConfig, RewardConfig
from deepperception.inference.processor import load_processor
from deepperception.progress import Progress
from deepperception.sft import run as sft_run
from deepperception.sft.config import SftConfig
from deepperception.training import distribution

ROWS_A_STEP = 4
GRPO = GrpoConfig(
    learning_rate=2e-3,
    max_steps=3,
    prompts_per_step=4,
    group_size=4,
    max_completion_length=64,
    difficulty=None,
    freeze_vision=True,
    rewards=RewardConfig(iou_threshold=0.0),
)


def train_all(model: Path, data: Path, out: Path) -> None:
    """sft/, grpo/ and sampled/ in `out`; the last one with the policy's own completions, filtered by difficulty."""
    context = Context(seed=3, progress=Progress("", sys.stderr), recipe_hash="sha256:0", inputs={})
    sft = SftConfig(learning_rate=1e-3, batch_size=ROWS_A_STEP // distribution.processes(), max_steps=4)
    sft_run.run(sft, arm="cot_sft", model=model, data=data, out=out / "sft", context=context)
    with mock.patch.object(grpo_trainer, "sample_groups", scripted(model)):
        grpo_run.run(GRPO, model=model, data=data, out=out / "grpo", context=context)
    open_to_all = DifficultyConfig(samples=2, min_right=0, max_right=2, min_kept=4)
    sampled = GRPO.model_copy(update={"max_steps": 2, "max_completion_length": 8, "difficulty": open_to_all})
    grpo_run.run(sampled, model=model, data=data, out=out / "sampled", context=context)


def scripted(folder: Path) -> Any:
    """Rollouts that the picture and the place in the group decide, whatever the policy."""
    tokenizer = load_processor(folder, max_pixels=read_interface(folder).max_pixels).tokenizer

    def sample_groups(model: Any, inputs: Any, count: int, sampling: Any) -> list[list[list[int]]]:
        pictures = inputs["pixel_values"].split([int(grid.prod()) for grid in inputs["image_grid_thw"]])
        names = [hashlib.sha256(patches.numpy().tobytes()).hexdigest() for patches in pictures]
        return [[tokenizer(completion(f"{name} {place}")).input_ids for place in range(count)] for name in names]

    return sample_groups


def completion(key: str) -> str:
    """Sometimes with its tags, sometimes without; its box is here or there."""
    draw = random.Random(key)
    left, top = draw.randrange(0, 500, 25), draw.randrange(0, 500, 25)
    box = f"({left},{top}),({left + draw.randrange(200, 500, 25)},{top + draw.randrange(200, 500, 25)})"
    thought = f"<think>{'spotted ' * draw.randrange(4)}</think>" if draw.random() < 0.7 else ""
    return f"{thought}<answer> {box} </answer><|im_end|>"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with distribution.joined():
        train_all(*(Path(each) for each in sys.argv[1:4]))
