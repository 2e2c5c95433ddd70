"""The cases behind a multiple-choice score."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from deepperception.artifacts.evaluations import read_lines, read_metrics

CHOICES: Literal["choices"] = "choices"
"""The `kind` of an evaluation's metrics where its benchmark asks for letters."""
LETTER_FORMS = ("letter", "letter and name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceCase:
    """One question, what the model said, and the letter that was read in it."""

    question_id: str
    category: str
    seen: bool
    choices: tuple[str, ...]
    answer: str
    text: str
    letter: str | None
    form: str
    """How the letter was written, as `read_letter` calls it."""

    @property
    def correct(self) -> bool:
        """The right letter, written as a letter: what tables and rewards go by."""
        return self.form in LETTER_FORMS and self.tolerantly_correct

    @property
    def tolerantly_correct(self) -> bool:
        """The right choice, however it was named."""
        return self.letter == self.answer

    @property
    def entity(self) -> str:
        """The right name."""
        return self.choices["ABCD".index(self.answer)]

    @property
    def chosen(self) -> str | None:
        """The name that was chosen."""
        return None if self.letter is None else self.choices["ABCD".index(self.letter)]


def is_of_choices(folder: Path) -> bool:
    """Whether an evaluation's benchmark asked for letters."""
    return read_metrics(folder).get("kind") == CHOICES


def read_choice_cases(folder: Path) -> list[ChoiceCase]:
    """The cases of a multiple-choice evaluation; InputError names the file and the line."""
    return read_lines(folder, _case)


def _case(row: Any) -> ChoiceCase:
    if not isinstance(row, dict):
        raise TypeError(f"expected an object, found {type(row).__name__}")
    if unknown := row.keys() - {field.name for field in fields(ChoiceCase)}:
        raise ValueError(f"unknown key '{min(unknown)}'")
    return ChoiceCase(**{**row, "choices": tuple(row["choices"])})
