"""One row of a dataset or a benchmark: a picture, a question, and where the answer came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deepperception.grounding.answers import target_box
from deepperception.grounding.boxes import Box

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Object:
    """One labelled thing in a picture."""

    entity: str
    box: Box


@dataclass(frozen=True, slots=True)
class Source:
    """One photo that went into a composed picture."""

    id: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """KVG-Bench's columns (question_id to image), then the project's own.

    `image` is the encoded file; `entity` the one asked for; `seen` whether its category has training data.
    `box_origins` says of each object who drew its box: "given" (its photo's author), "whole image", "model".
    """

    question_id: str
    category: str
    question: str
    answer: str
    image: bytes
    entity: str
    objects: tuple[Object, ...] = ()
    reasoning: str | None = None
    sources: tuple[Source, ...] = ()
    split: Split
    seen: bool
    box_origins: tuple[str, ...] = ()

    @property
    def target(self) -> Box:
        """The box asked for; InputError where `answer` holds none."""
        return target_box(self.answer)
