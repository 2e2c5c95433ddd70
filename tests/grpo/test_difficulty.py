from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts.datasets import read_rows
from deepperception.errors import InputError
from deepperception.grounding import Sample, completion
from deepperception.grpo.config import DifficultyConfig
from deepperception.grpo.difficulty import keep_learnable
from deepperception.inference.engine import Decoding, Request
from deepperception.progress import Progress


class Scripted:
    """Right as often as told, request by request."""

    def __init__(self, samples: Sequence[Sample], right: Sequence[int]) -> None:
        self.backend: dict[str, Any] = {}
        self.samples, self.right = samples, right

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
        assert decoding.temperature > 0, "equal samples would tell nothing"
        for sample, right in zip(self.samples, self.right, strict=True):
            good = completion(sample.answer, "so")
            yield [good] * right + ["<think>hm</think><answer>(0,0),(1,1)</answer>"] * (decoding.samples - right)


@pytest.fixture(scope="module")
def samples(creature_rows: Path) -> list[Sample]:
    return list(read_rows(creature_rows / "rl.parquet"))[:5]


def filtered(samples: list[Sample], config: DifficultyConfig) -> tuple[list[Sample], dict[str, int]]:
    engine = Scripted(samples, [0, 1, 2, 3, 4])
    return keep_learnable(samples, engine, config, max_new_tokens=8, seed=0, progress=Progress("", io.StringIO()))


def test_drops_what_is_never_or_always_right(samples: list[Sample]) -> None:
    kept, counts = filtered(samples, DifficultyConfig(min_kept=1))
    assert kept == samples[1:4]
    assert counts == {f"right_{right}_of_4": 1 for right in range(5)}


def test_stops_where_too_little_is_left(samples: list[Sample]) -> None:
    with pytest.raises(InputError, match=r"3 of 5 prompts are left.*set grpo\.difficulty to null"):
        filtered(samples, DifficultyConfig(min_kept=4))
