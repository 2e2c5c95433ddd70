"""Settings of a search: the `search` section of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from deepperception.settings import Settings

SEARCHED = ("sft", "grpo")
"""Sections whose settings may differ between trials."""


class SearchConfig(Settings):
    """Every seed with every combination of the grid is a trial."""

    seeds: list[int] = Field(default_factory=list, description="Of the trainings; empty: the recipe's own.")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="Setting -> values to try, as {grpo.learning_rate: [1.0e-6, 2.0e-6]}."
    )

    @field_validator("seeds")
    @classmethod
    def _are_seeds(cls, seeds: list[int]) -> list[int]:
        if any(not 0 <= seed < 2**31 for seed in seeds):
            raise ValueError("seeds lie between 0 and 2147483647")
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is named twice, and would give the same model twice")
        return seeds

    @field_validator("grid")
    @classmethod
    def _can_be_searched(cls, grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in grid.items():
            if key.split(".")[0] not in SEARCHED:
                raise ValueError(
                    f"'{key}' is not of {' or '.join(SEARCHED)}; trials are compared on the same data, asked alike"
                )
            if not values or any(value in values[:place] for place, value in enumerate(values)):
                raise ValueError(f"'{key}' needs at least one value, and none of them twice")
        return grid
