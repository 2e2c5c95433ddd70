"""Settings of supervised fine-tuning: the `sft` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from deepperception.settings import Settings

Arm = Literal["sft", "cot_sft"]
"""`sft` learns the answer alone, asked bare: the paper's control. `cot_sft` learns the reasoning too, asked with r1."""


class SftConfig(Settings):
    """One epoch over the rows with reasoning; both arms see the same pictures with the same settings."""

    learning_rate: PositiveFloat = Field(5e-6, description="Peak. Paper, released script.")
    epochs: PositiveFloat = Field(1.0, description="Paper: 1.")
    max_steps: PositiveInt | None = Field(None, description="Stop after so many optimizer steps; None: all epochs.")
    batch_size: PositiveInt = Field(2, description="Rows a process and step. Paper, released script: 2 on 8 GPUs.")
    gradient_accumulation: PositiveInt = Field(1, description="Batches an optimizer step. Paper, released script.")
    schedule: Literal["cosine", "constant", "linear"] = Field("cosine", description="Paper: cosine.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps with a rising rate. Paper: 0.1.")
    weight_decay: NonNegativeFloat = Field(0.0, description="LLaMA-Factory's default, which the paper leaves.")
    max_grad_norm: PositiveFloat = 1.0
    freeze_vision: bool = Field(True, description="Vision tower and projector keep their weights. Paper: frozen.")
    gradient_checkpointing: bool = False
