"""Multiple choice: which of four entities of one category a picture shows (the paper's FGVR, sections 2.8 and 4d)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deepperception.errors import InputError
from deepperception.grounding.boxes import Box
from deepperception.grounding.prompts import DialogueName
from deepperception.grounding.robust import answer_part, closed_answer
from deepperception.grounding.samples import Source, Split

LETTERS = "ABCD"
"""Of the choices, in their order. Paper: the right one and three distractors."""

_ALONE = re.compile(r"\(?([A-D])[).:]{0,2}")
_LED = re.compile(r"\(?([A-D])(?:[).:]|\s+[-:])\s*\w.*", re.DOTALL)
_SPOKEN = re.compile(r"(?:answer|option|choice)\s{0,4}(?:is|:)?\s{0,4}\(?([A-D])\b(?!\s*[a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceSample:
    """One row: a picture, a question that lists four names, and the letter of the right one.

    `image` is the encoded file; `seen` whether its category has training data. InputError where the answer is no letter
    of a choice, or the choices are not four different names.
    """

    question_id: str
    category: str
    question: str
    choices: tuple[str, ...]
    answer: str
    image: bytes
    reasoning: str | None = None
    sources: tuple[Source, ...] = ()
    split: Split = "test"
    seen: bool = True

    def __post_init__(self) -> None:
        if len(self.choices) != len(LETTERS) or len({_plain(name) for name in self.choices}) != len(LETTERS):
            raise InputError(f"the choices {list(self.choices)!r} are not {len(LETTERS)} different names.")
        if self.answer not in tuple(LETTERS):
            raise InputError(f"the answer is {self.answer!r}; expected one of the letters {', '.join(LETTERS)}.")

    @property
    def entity(self) -> str:
        """The right name."""
        return self.choices[LETTERS.index(self.answer)]


def choice_question(category: str, choices: Sequence[str], box: Box | None = None) -> str:
    """The question, a line for each choice; about what is in `box` where the picture shows more than one thing."""
    shown = "the image" if box is None else f"the image at <|box_start|>{box.text()}<|box_end|>"
    return "\n".join(
        [f"Which {category} is shown in {shown}?"]
        + [f"{letter}. {name}" for letter, name in zip(LETTERS, choices, strict=True)]
    )


def choice_prompt(prompt: DialogueName) -> DialogueName:
    """How a model that is asked for boxes with `prompt` is asked for a letter; InputError where it cannot be."""
    if prompt in ("r1", "fgvr"):
        return "fgvr"
    if prompt in ("bare", "cot-normal"):
        return prompt
    raise InputError(f"the prompt '{prompt}' asks for a box; for multiple choice give bare, cot-normal or fgvr.")


def read_letter(text: str, choices: Sequence[str]) -> tuple[str | None, str]:
    """The letter that a completion answers with, and the form it was written in; (None, "none") without one.

    Forms, in the order they are tried on what stands in <answer>, else behind the thinking, else on the whole text:
    `letter` A or (A) or "A."; `letter and name` "A. Boeing 747"; `name`, the only choice that is named; `sentence`
    "the answer is A". A letter within a word is none. Never raises.
    """
    answer = answer_part(text).strip()
    if alone := _ALONE.fullmatch(answer):
        return alone[1], "letter"
    if led := _LED.fullmatch(answer):
        return led[1], "letter and name"
    if named := _named(answer, choices):
        return named, "name"
    if said := _SPOKEN.findall(answer):
        return said[-1].upper(), "sentence"
    return None, "none"


def answered_letter(text: str) -> str | None:
    """The letter, strictly: the last complete <answer> holds it and nothing else but brackets or a point."""
    answer = closed_answer(text)
    found = None if answer is None else _ALONE.fullmatch(answer.strip())
    return found[1] if found else None


def _named(answer: str, choices: Sequence[str]) -> str | None:
    """The letter of the one choice whose name stands in the answer; a longer name hides a shorter one within it."""
    said = answer.casefold()
    found = set()
    for letter, name in sorted(zip(LETTERS, choices, strict=False), key=lambda each: -len(each[1])):
        whole = re.compile(rf"(?<!\w){re.escape(name.casefold())}(?!\w)")
        if whole.search(said):
            found.add(letter)
            said = whole.sub(" ", said)
    return found.pop() if len(found) == 1 else None


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
