"""Settings of the promotion stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from deepperception.settings import Settings


class ReleaseConfig(Settings):
    """How a candidate takes over on a cluster, and what it must show at every step. The project's own."""

    steps: tuple[int, ...] = Field(default=(10, 50, 100), min_length=1, description="Percent of the requests.")
    min_requests: int = Field(default=100, ge=1, description="Of the canary at each step, before it is judged.")
    step_timeout_s: float = Field(default=1800.0, gt=0, description="Longest wait for them.")
    quiet: Literal["roll back", "go on"] = Field(
        default="roll back", description="Where fewer came in that time: they are judged anyway if it says go on."
    )
    max_error_share: float = Field(default=0.01, ge=0, lt=1, description="Of the canary's requests: answered with 5xx.")
    max_latency_ratio: float = Field(
        default=1.5, gt=1, description="The canary's 95th percentile against the served version's, at the same time."
    )
    max_found_drop: float = Field(
        default=0.1, ge=0, le=1, description="By which share fewer of the canary's answers may hold a box."
    )

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)) or not all(1 <= step <= 100 for step in steps):
            raise ValueError("steps must rise, each from 1 to 100")
        return steps


class PromotionConfig(Settings):
    """When a candidate takes the champion's place. The paper promotes nothing; these are the project's own."""

    alpha: float = Field(
        default=0.05, gt=0, lt=1, description="Largest p-value of the paired test (McNemar, exact, two-sided)."
    )
    min_gain: float = Field(
        default=0.0, ge=0, lt=1, description="The gain in accuracy must exceed this; a fraction, not points."
    )
    min_cases: int = Field(default=100, ge=1, description="Fewer test cases than this decide nothing.")
    max_category_drop: float = Field(
        default=0.1, ge=0, le=1, description="By which no category may be shown to be worse; a fraction."
    )
    max_p95_s: float | None = Field(
        default=None, gt=0, description="Latency budget: 95th percentile of its service's answers to golden pictures."
    )
    max_memory_gib: float | None = Field(
        default=None, gt=0, description="Memory budget: what its server's process holds after golden pictures."
    )
    require_leakage_check: bool = Field(
        default=False, description="Refuse where no leakage guard ran on the training data; else that is only told."
    )
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
    release: ReleaseConfig = Field(default=ReleaseConfig(), description="Where the infra file has a section serving.")
