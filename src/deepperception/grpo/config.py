"""Settings of reinforcement learning on box overlap: the `grpo` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from deepperception.errors import InputError
from deepperception.settings import Settings


class RewardConfig(Settings):
    """What a completion earns; the total is the sum."""

    iou_threshold: float = Field(0.8, ge=0, lt=1, description="IoU pays above it, else 0. Paper, stage 2: 0.8.")
    iou_weight: NonNegativeFloat = Field(1.0, description="Paper: 1.")
    letter_weight: NonNegativeFloat = Field(1.0, description="Of a right letter, where rows are multiple choice.")
    format_weight: NonNegativeFloat = Field(
        1.0, description="Of tags, and of a canonical box where a box is asked. Paper: 1."
    )


class DifficultyConfig(Settings):
    """Keeps the prompts that the policy sometimes gets right. Paper (v3): 4 samples, 1 to 3 right."""

    samples: int = Field(4, ge=2)
    min_right: int = Field(1, ge=0)
    max_right: int = Field(3, ge=0)
    right_iou: float = Field(0.5, gt=0, le=1, description="Overlap of a right box. The paper's threshold is unknown.")
    temperature: PositiveFloat = 1.0
    min_kept: PositiveInt = Field(8, description="Stop where fewer prompts are left to learn from.")

    @model_validator(mode="after")
    def _ordered(self) -> DifficultyConfig:
        if not self.min_right <= self.max_right <= self.samples:
            raise ValueError("expected min_right <= max_right <= samples")
        return self


class GrpoConfig(Settings):
    """Group relative policy optimization."""

    learning_rate: PositiveFloat = Field(1e-6, description="Constant. Paper, released script.")
    epochs: PositiveFloat = Field(2.0, description="Paper: 2.")
    max_steps: PositiveInt | None = Field(None, description="Stop after so many optimizer steps; None: all epochs.")
    prompts_per_step: PositiveInt = Field(16, description="Paper, released script: 1 x 8 GPUs x 2 accumulated.")
    group_size: int = Field(4, ge=2, description="Completions a prompt. Paper: 4.")
    micro_batch: PositiveInt | None = Field(None, description="Completions a backward pass; None: a whole step's.")
    max_completion_length: PositiveInt = Field(512, description="Tokens. Paper: 512.")
    temperature: PositiveFloat = Field(1.0, description="Of the rollouts. Paper: 1.")
    kl_coefficient: NonNegativeFloat = Field(0.04, description="Weight of the k3 KL to the start. Paper: 0.04.")
    clip: PositiveFloat = Field(0.2, description="Of the probability ratio; idle while each rollout is used once.")
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = Field(
        "dapo", description="Token mean. The paper's per-sequence mean ('grpo') shortens completions over time."
    )
    schedule: Literal["constant", "cosine", "linear"] = Field("constant", description="Paper: constant.")
    max_grad_norm: PositiveFloat = 1.0
    freeze_vision: bool = Field(False, description="R1-V trains all weights.")
    gradient_checkpointing: bool = False
    rewards: RewardConfig = RewardConfig()
    difficulty: DifficultyConfig | None = Field(DifficultyConfig(), description="null: learn from every prompt.")

    @model_validator(mode="after")
    def _divides(self) -> GrpoConfig:
        if self.micro_batch is not None and (self.prompts_per_step * self.group_size) % self.micro_batch:
            raise ValueError("micro_batch must divide prompts_per_step x group_size")
        return self

    def shared_by(self, processes: int) -> tuple[int, int]:
        """Of each process: completions a backward pass, and passes a step. A step's prompts are shared, not multiplied.

        InputError where they cannot be shared evenly.
        """
        completions = self.prompts_per_step * self.group_size
        share = completions // processes
        micro_batch = min(self.micro_batch or share, share)
        if completions % processes or not share or share % micro_batch:
            raise InputError(
                f"grpo: {self.prompts_per_step} prompts x {self.group_size} completions a step, in micro-batches of "
                f"{self.micro_batch or 'any size'}, cannot be shared evenly by {processes} processes; change "
                "grpo.prompts_per_step or grpo.micro_batch, or the nodes and processes_per_node of the infra file."
            )
        return micro_batch, share // micro_batch
