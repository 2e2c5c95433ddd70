"""The assistant's turn: writing target answers, and reading completions back."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from deepperception.errors import InputError
from deepperception.grounding.boxes import Box
from deepperception.grounding.prompts import entity_of, reference
from deepperception.grounding.robust import closed_answer, robust_box

BOX_START, BOX_END = "<|box_start|>", "<|box_end|>"

_N = r"\s*(\d+(?:\.\d+)?)\s*"
_TARGET = re.compile(rf"{re.escape(BOX_START)}\s*\({_N},{_N}\)\s*,\s*\({_N},{_N}\)\s*{re.escape(BOX_END)}")
_REASONING = re.compile(r"<think>(.*?)(?:</think>|<answer>|$)", re.DOTALL)


def answer_text(entity: str, box: Box) -> str:
    """KVG-Bench's `answer` column: the entity and its box in whole thousandths, both between Qwen2-VL's tokens."""
    return f"{reference(entity)}{BOX_START}{box.text()}{BOX_END}"


# A row's target is asked for when the row is read, and again when a reply is scored.
@functools.lru_cache(maxsize=2048)
def target_box(answer: str) -> Box:
    """The box in an `answer` column; InputError where there is none, or one that is no box."""
    if found := _TARGET.search(answer):
        return Box(*(float(number) for number in found.groups()))
    raise InputError(f"the answer {answer[:120]!r} holds no box; expected {BOX_START}(x1,y1),(x2,y2){BOX_END}.")


def target_entity(answer: str) -> str:
    """The entity in an `answer` column; InputError where there is none."""
    return entity_of(answer)


def completion(answer: str, reasoning: str | None) -> str:
    """What a model is trained to reply: thinking, then the answer; or the answer alone where there is no reasoning."""
    if reasoning is None:
        return answer
    return f"<think>{reasoning}</think><answer> {answer} </answer>"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A completion taken apart. `reasoning` and `answer` are stripped of spaces; None where the tags are missing.

    `box` and `form` are `robust_box`'s.
    """

    reasoning: str | None
    answer: str | None
    box: Box | None
    form: str


def parse(text: str) -> Parsed:
    """Read a completion tolerantly, with or without its special tokens; never raises."""
    thought = _REASONING.search(text)
    answer = closed_answer(text)
    box, form = robust_box(text)
    return Parsed(thought[1].strip() if thought else None, None if answer is None else answer.strip(), box, form)
