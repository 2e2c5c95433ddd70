"""What the policy is asked in reinforcement learning, when it is right, and what it earns: one task a kind of row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, cast

from datasets import List, Value

from deepperception.grounding import Box, ChoiceSample, PromptName, Sample, answered_letter, official_box, raw_iou
from deepperception.grpo.config import RewardConfig
from deepperception.grpo.rewards import format_reward, iou_reward, letter_format_reward, letter_reward
from deepperception.training.questions import Row, thinking_prompt

Reward = Any
"""(completions, **columns of the rows) -> a float for each completion, as TRL calls it."""


class Task(Protocol):
    """All that differs between finding a box and choosing a letter."""

    target_type: Any
    """Of the column `target`, by which the rewards know what is right."""

    def target(self, row: Row) -> Any: ...

    def is_right(self, row: Row, text: str, least_iou: float) -> bool:
        """Whether the difficulty filter counts a completion as right."""
        ...

    def rewards(self, config: RewardConfig) -> tuple[list[Reward], list[float]]:
        """The rewards in TRL's form, so that its log shows them apart, and their weights."""
        ...


class FindBox:
    """KVG: the box of a named entity among its look-alikes."""

    target_type = List(Value("float64"))

    def target(self, row: Row) -> list[float]:
        return list(cast(Sample, row).target.as_tuple())

    def is_right(self, row: Row, text: str, least_iou: float) -> bool:
        return raw_iou(official_box(text), cast(Sample, row).target.as_tuple()) >= least_iou

    def rewards(self, config: RewardConfig) -> tuple[list[Reward], list[float]]:
        pay = partial(iou_reward, threshold=config.iou_threshold)

        def iou(completions: list[Any], target: list[list[float]], **_: Any) -> list[float]:
            return [pay(text, Box(*corners)) for text, corners in zip(_texts(completions), target, strict=True)]

        def format(completions: list[Any], **_: Any) -> list[float]:
            return [format_reward(text) for text in _texts(completions)]

        return [iou, format], [config.iou_weight, config.format_weight]


class ChooseLetter:
    """FGVR: which of four names is that of what the picture shows."""

    target_type = Value("string")

    def target(self, row: Row) -> str:
        return row.answer

    def is_right(self, row: Row, text: str, least_iou: float) -> bool:
        return answered_letter(text) == row.answer

    def rewards(self, config: RewardConfig) -> tuple[list[Reward], list[float]]:
        def letter(completions: list[Any], target: list[str], **_: Any) -> list[float]:
            return [letter_reward(text, answer) for text, answer in zip(_texts(completions), target, strict=True)]

        def format(completions: list[Any], **_: Any) -> list[float]:
            return [letter_format_reward(text) for text in _texts(completions)]

        return [letter, format], [config.letter_weight, config.format_weight]


def task_of(rows: Sequence[Row]) -> tuple[Task, PromptName]:
    """The task that a file's rows set, and how it is put to the policy."""
    task: Task = ChooseLetter() if isinstance(rows[0], ChoiceSample) else FindBox()
    return task, thinking_prompt(rows)


def _texts(completions: list[Any]) -> list[str]:
    return [reply[0]["content"] for reply in completions]
