"""Settings of the evaluation stage."""

from __future__ import annotations

from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from deepperception.grounding.prompts import DialogueName
from deepperception.inference.endpoint import Endpoint
from deepperception.inference.open import EngineName
from deepperception.settings import Settings


class EvaluationConfig(Settings):
    """How a benchmark is put to a model. What the model itself fixes is left to its interface file."""

    engine: EngineName = Field(default="transformers", description="What runs the model; vllm needs a GPU.")
    endpoint: Endpoint | None = Field(default=None, description="The server that engine openai asks.")
    batch_size: PositiveInt = Field(default=64, description="Pictures in a forward pass; up to twice as many decoded.")
    prompt: DialogueName | None = Field(default=None, description="None: the model's own (its interface file).")
    max_new_tokens: PositiveInt | None = Field(default=None, description="None: the model's own (its interface file).")
    max_pixels: int | None = Field(
        default=None, ge=3_136, description="Per picture, after resizing. None: the model's own (its interface file)."
    )
    temperature: NonNegativeFloat = Field(default=0.0, description="0 is greedy. KARL's released script: 0.5.")
    samples: PositiveInt = Field(default=1, description="Replies to each question; the first one is the scored one.")
    sampling_seed: NonNegativeInt = Field(default=0, description="Of the drawn replies. KARL's released script: 20.")

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples above 1 need a temperature above 0, or all would be the same")
        return self
