"""Settings of the promotion stage."""

from __future__ import annotations

from pydantic import Field

from deepperception.settings import Settings


class PromotionConfig(Settings):
    """When a candidate takes the champion's place. The paper promotes nothing; these are the project's own."""

    alpha: float = Field(
        default=0.05, gt=0, lt=1, description="Largest p-value of the paired test (McNemar, exact, two-sided)."
    )
    min_gain: float = Field(
        default=0.0, ge=0, lt=1, description="The gain in accuracy must exceed this; a fraction, not points."
    )
    min_cases: int = Field(default=100, ge=1, description="Fewer test cases than this decide nothing.")
    resamples: int = Field(default=10_000, ge=100, description="Of the bootstrap behind the gain's 95 % interval.")
    golden: int = Field(
        default=4, ge=0, le=64, description="Pictures that the candidate got right, asked of its service."
    )
    golden_share: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Share that must be right again: another batch size rounds differently, which may turn one.",
    )
