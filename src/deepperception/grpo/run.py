"""Runs reinforcement learning on box overlap, with TRL's trainer."""

from __future__ import annotations

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from datasets import List, Value
from transformers import PrinterCallback, set_seed
from trl import GRPOConfig as TrlGrpoConfig

from deepperception.artifacts.checkpoints import Interface
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome
from deepperception.errors import InputError
from deepperception.grounding import Box, Sample, render
from deepperception.grpo.config import GrpoConfig
from deepperception.grpo.difficulty import keep_learnable
from deepperception.grpo.rewards import format_reward, iou_reward
from deepperception.grpo.trainer import GroupTrainer
from deepperception.inference.transformers_engine import PLACEHOLDERS, TransformersEngine
from deepperception.training import distribution
from deepperception.training.arguments import common_arguments
from deepperception.training.follow import Follower
from deepperception.training.policy import Policy, as_input, backend_of, export, freeze_vision, load_policy
from deepperception.training.rows import read_samples, to_dataset

Reward = Any
"""(completions, **columns of the rows) -> a float for each completion."""


def run(
    config: GrpoConfig, *, model: Path, data: Path, out: Path, context: Context, interface: Interface | None = None
) -> Manifest:
    """Trains the checkpoint in `model` on `data`/rl.parquet and writes a checkpoint artifact to `out`.

    `interface` takes the place of the checkpoint's own, all but the prompt, which is always r1.
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
            export(policy, folder, prompt="r1", curves=curves)
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
) -> tuple[list[Sample], dict[str, int]]:
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


def reward_functions(config: GrpoConfig) -> tuple[list[Reward], list[float]]:
    """The rewards in TRL's form, so that its log shows them apart, and their weights."""

    def iou(completions: list[Any], target: list[list[float]], **_: Any) -> list[float]:
        pay = partial(iou_reward, threshold=config.rewards.iou_threshold)
        return [pay(reply[0]["content"], Box(*corners)) for reply, corners in zip(completions, target, strict=True)]

    def format(completions: list[Any], **_: Any) -> list[float]:
        return [format_reward(reply[0]["content"]) for reply in completions]

    return [iou, format], [config.rewards.iou_weight, config.rewards.format_weight]


def _train(
    config: GrpoConfig, policy: Policy, prompts: list[Sample], scratch: Path, context: Context
) -> list[dict[str, Any]]:
    micro_batch, accumulation = config.shared_by(distribution.processes())
    rewards, weights = reward_functions(config)
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
            "prompt": [{"role": "user", "content": render("r1", sample.question)}],
            "target": list(sample.target.as_tuple()),
        }
        for sample in prompts
    ]
    trainer = GroupTrainer(
        model=policy.model,
        processing_class=policy.processor,
        reward_funcs=rewards,
        args=arguments,
        train_dataset=to_dataset(rows, target=List(Value("float64"))),
    )
    steps = config.max_steps or math.ceil(len(prompts) // config.prompts_per_step * config.epochs)
    note = {"reward": "reward", "rewards/iou/mean": "iou", "completions/mean_length": "tokens"}
    with context.progress.track(steps, "step") as bar:
        follower = Follower(bar, note)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(follower)
        trainer.train()
    return follower.curves
