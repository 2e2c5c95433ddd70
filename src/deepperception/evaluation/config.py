"""Settings of the evaluation stage."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from deepperception.grounding.prompts import PromptName
from deepperception.settings import Settings


class EvaluationConfig(Settings):
    """How a benchmark is put to a model. What the model itself fixes is left to its interface file."""

    batch_size: PositiveInt = Field(default=64, description="Pictures per engine call, and in memory.")
    prompt: PromptName | None = Field(default=None, description="None: the model's own (its interface file).")
    max_new_tokens: PositiveInt | None = Field(default=None, description="None: the model's own (its interface file).")
    max_pixels: int | None = Field(
        default=None, ge=3_136, description="Per picture, after resizing. None: the model's own (its interface file)."
    )
