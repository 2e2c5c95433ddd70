"""The task: boxes, questions, answers and how they are read. Imports nothing of the package but `errors`."""

from deepperception.grounding.answers import Parsed, answer_text, completion, parse, target_box, target_entity
from deepperception.grounding.boxes import Box, raw_iou
from deepperception.grounding.choices import (
    LETTERS,
    ChoiceSample,
    answered_letter,
    choice_prompt,
    choice_question,
    read_letter,
)
from deepperception.grounding.official import official_box
from deepperception.grounding.prompts import DialogueName, PromptName, entity_of, question, render, turns
from deepperception.grounding.robust import robust_box
from deepperception.grounding.samples import Object, Sample, Source, Split

__all__ = [
    "LETTERS",
    "Box",
    "ChoiceSample",
    "DialogueName",
    "Object",
    "Parsed",
    "PromptName",
    "Sample",
    "Source",
    "Split",
    "answer_text",
    "answered_letter",
    "choice_prompt",
    "choice_question",
    "completion",
    "entity_of",
    "official_box",
    "parse",
    "question",
    "raw_iou",
    "read_letter",
    "render",
    "robust_box",
    "target_box",
    "target_entity",
    "turns",
]
