"""What a training file asks for, boxes or letters: its rows say so themselves, by having choices or not."""

from __future__ import annotations

from collections.abc import Sequence

from deepperception.grounding import ChoiceSample, PromptName, Sample, completion, target_entity
from deepperception.grounding.answers import answer_text

Row = Sample | ChoiceSample

THINKING: dict[type[Sample] | type[ChoiceSample], PromptName] = {Sample: "r1", ChoiceSample: "fgvr"}
"""The prompt that asks for reasoning first (paper, section 1)."""


def thinking_prompt(rows: Sequence[Row]) -> PromptName:
    """The one for all of them: a file holds one kind of question."""
    return THINKING[type(rows[0])]


def target_reply(row: Row, box_step: int, *, reasoning: bool) -> str:
    """What a model learns to say: the entity and its box, in steps that it has tokens for; or the right letter."""
    if isinstance(row, ChoiceSample):
        answer = row.answer
    else:
        answer = answer_text(target_entity(row.answer), row.target.rounded(box_step))
    return completion(answer, row.reasoning if reasoning else None)
