"""Runs supervised fine-tuning as the paper tells it: completion-only loss, vision tower and projector frozen."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, set_seed
from trl import SFTConfig as TrlSftConfig
from trl import SFTTrainer

from deepperception.artifacts.checkpoints import Interface
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome
from deepperception.errors import InputError
from deepperception.grounding import PromptName, render
from deepperception.sft.config import Arm, SftConfig
from deepperception.training import distribution
from deepperception.training.arguments import common_arguments
from deepperception.training.follow import Follower
from deepperception.training.policy import Policy, as_input, backend_of, export, freeze_vision, load_policy
from deepperception.training.questions import Row, target_reply, thinking_prompt
from deepperception.training.rows import TURNS, read_samples, to_dataset


def run(
    config: SftConfig,
    *,
    arm: Arm,
    model: Path,
    data: Path,
    out: Path,
    context: Context,
    interface: Interface | None = None,
) -> Manifest:
    """Fine-tunes the checkpoint in `model` on `data`/sft.parquet and writes a checkpoint artifact to `out`.

    `interface` takes the place of the checkpoint's own, all but the prompt, which the arm decides.
    """

    def build(folder: Path) -> Outcome:
        set_seed(context.seed)
        policy = load_policy(model, interface)
        if config.freeze_vision:
            freeze_vision(policy.model)
        prompt, rows = training_rows(data / "sft.parquet", arm, policy.interface.box_step)
        with tempfile.TemporaryDirectory() as scratch:
            curves = _train(config, policy, rows, Path(scratch), context)
        if distribution.is_first():
            export(policy, folder, prompt=prompt, curves=curves)
        last = curves[-1]
        return Outcome(
            counts={"rows": len(rows), "steps": last["step"]},
            metrics={"loss": last["loss"], "token_accuracy": last.get("mean_token_accuracy")},
            backend=backend_of(policy),
        )

    return distribution.once_together(
        out,
        kind="model",
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs={**context.inputs, "arm": arm, **as_input(interface)},
        progress=context.progress,
        build=build,
    )


def training_rows(path: Path, arm: Arm, box_step: int) -> tuple[PromptName, Dataset]:
    """How the model is asked, and conversations with their picture, in TRL's prompt and completion columns."""
    rows: list[dict[str, Any]] = []
    samples = read_samples(path)
    prompt: PromptName = thinking_prompt(samples) if arm == "cot_sft" else "bare"
    for number, sample in enumerate(samples, start=1):
        if arm == "cot_sft" and not sample.reasoning:
            raise InputError(f"{path}, row {number}: there is no reasoning to learn; synthesize the data again.")
        rows.append(
            {
                "image": sample.image,
                "prompt": [{"role": "user", "content": render(prompt, sample.question)}],
                "completion": [{"role": "assistant", "content": reply(sample, arm, box_step)}],
            }
        )
    return prompt, to_dataset(rows, completion=TURNS)


def reply(sample: Row, arm: Arm, box_step: int) -> str:
    """What the model learns to say, with its reasoning or without."""
    return target_reply(sample, box_step, reasoning=arm == "cot_sft")


def _train(config: SftConfig, policy: Policy, rows: Dataset, scratch: Path, context: Context) -> list[dict[str, Any]]:
    arguments = TrlSftConfig(
        **common_arguments(config, seed=context.seed, scratch=scratch),
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        completion_only_loss=True,
        max_length=None,  # cutting a row would cut its picture's tokens
    )
    trainer = SFTTrainer(model=policy.model, processing_class=policy.processor, args=arguments, train_dataset=rows)
    steps = config.max_steps or _steps(config, len(rows))
    with context.progress.track(steps, "step") as bar:
        follower = Follower(bar, {"loss": "loss", "mean_token_accuracy": "token accuracy"})
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(follower)
        trainer.train()
    return follower.curves


def _steps(config: SftConfig, rows: int) -> int:
    batches = -(-rows // (config.batch_size * distribution.processes()))
    return max(1, round(-(-batches // config.gradient_accumulation) * config.epochs))
