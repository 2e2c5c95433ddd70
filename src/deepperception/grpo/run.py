"""Runs reinforcement learning on box overlap, with TRL's trainer."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, set_seed
from trl import GRPOConfig as TrlGrpoConfig

from deepperception.artifacts.checkpoints import Interface
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome
from deepperception.errors import InputError
from deepperception.grounding import render
from deepperception.grpo.config import GrpoConfig
from deepperception.grpo.difficulty import keep_learnable
from deepperception.grpo.tasks import task_of
from deepperception.grpo.trainer import GroupTrainer
from deepperception.inference.transformers_engine import PLACEHOLDERS, TransformersEngine
from deepperception.training import distribution
from deepperception.training.arguments import common_arguments
from deepperception.training.follow import Follower
from deepperception.training.policy import Policy, as_input, backend_of, export, freeze_vision, load_policy
from deepperception.training.questions import Row, thinking_prompt
from deepperception.training.rows import read_samples, to_dataset


def run(
    config: GrpoConfig, *, model: Path, data: Path, out: Path, context: Context, interface: Interface | None = None
) -> Manifest:
    """Trains the checkpoint in `model` on `data`/rl.parquet and writes a checkpoint artifact to `out`.

    `interface` takes the place of the checkpoint's own, all but the prompt, which the rows decide.
    """

    def build(folder: Path) -> Outcome:
        set_seed(context.seed)
        policy = load_policy(model, interface)
        prompts, difficulty = learnable_prompts(config, policy, data / "rl.parquet", context)
        if config.freeze_vision:
            freeze_vision(policy.model)
        with tempfile.TemporaryDirectory() as scratch:
            curves = _train(config, policy, prompts, Path(scratch), context)
        if distribution.is_first():
            export(policy, folder, prompt=thinking_prompt(prompts), curves=curves)
        last = curves[-1]
        return Outcome(
            counts={
                "prompts": len(prompts),
                # TRL trains whole steps, and leaves what is over out of each pass, shuffled anew.
                "left_out_each_epoch": len(prompts) % config.prompts_per_step,
                "steps": last["step"],
                **difficulty,
            },
            metrics={key: last[key] for key in ("loss", "reward") if key in last},
            backend=backend_of(policy),
        )

    return distribution.once_together(
        out,
        kind="model",
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs={**context.inputs, **as_input(interface)},
        progress=context.progress,
        build=build,
    )


def learnable_prompts(
    config: GrpoConfig, policy: Policy, path: Path, context: Context
) -> tuple[list[Row], dict[str, int]]:
    """The rows to learn from, and the counts of the difficulty filter."""
    kept, counts = read_samples(path), dict[str, int]()
    if config.difficulty is not None:
        kept, counts = keep_learnable(
            kept,
            TransformersEngine.around(policy.model, policy.processor),
            config.difficulty,
            max_new_tokens=config.max_completion_length,
            seed=context.seed,
            progress=context.progress,
        )
    if len(kept) < config.prompts_per_step:
        allowed = f" (grpo.difficulty.min_kept {config.difficulty.min_kept} allows that)" if config.difficulty else ""
        raise InputError(
            f"{path}: {len(kept)} prompts are left to learn from{allowed}, fewer than the {config.prompts_per_step} of "
            f"grpo.prompts_per_step; set that to {len(kept)} or less, or synthesize more rl rows."
        )
    return kept, counts


def _train(
    config: GrpoConfig, policy: Policy, prompts: list[Row], scratch: Path, context: Context
) -> list[dict[str, Any]]:
    micro_batch, accumulation = config.shared_by(distribution.processes())
    task, prompt = task_of(prompts)
    rewards, weights = task.rewards(config.rewards)
    arguments = TrlGrpoConfig(
        **common_arguments(config, seed=context.seed, scratch=scratch),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        num_generations=config.group_size,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        beta=config.kl_coefficient,
        epsilon=config.clip,
        loss_type=config.loss_type,
        reward_weights=weights,
        # A hot policy can sample a picture's placeholder, and the next forward pass then wants its picture.
        generation_kwargs={"suppress_tokens": policy.processor.tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS))},
    )
    rows = [
        {
            "image": sample.image,
            "prompt": [{"role": "user", "content": render(prompt, sample.question)}],
            "target": task.target(sample),
        }
        for sample in prompts
    ]
    trainer = GroupTrainer(
        model=policy.model,
        processing_class=policy.processor,
        reward_funcs=rewards,
        args=arguments,
        train_dataset=to_dataset(rows, target=task.target_type),
    )
    steps = config.max_steps or math.ceil(len(prompts) // config.prompts_per_step * config.epochs)
    note = {
        "reward": "reward",
        "rewards/iou/mean": "iou",
        "rewards/letter/mean": "right",
        "completions/mean_length": "tokens",
    }
    with context.progress.track(steps, "step") as bar:
        follower = Follower(bar, note)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(follower)
        trainer.train()
    return follower.curves
