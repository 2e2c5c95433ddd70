"""What a wrong answer was: the box of a look-alike, a box elsewhere, or none; and which is taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepperception.artifacts.evaluations import IOU_THRESHOLD, Case
from deepperception.grounding import Object, raw_iou
from deepperception.grounding.official import NOTHING

Kind = Literal["right", "a look-alike", "no object", "no box"]
KINDS: tuple[Kind, ...] = ("right", "a look-alike", "no object", "no box")
"""`no object`: the box overlaps none of the known objects enough, the target included."""


@dataclass(frozen=True)
class Judged:
    """What a case's official box hit; `instead` is the entity that was boxed in the target's place."""

    kind: Kind
    instead: str | None = None


@dataclass(frozen=True)
class Confusion:
    """How often one entity was boxed where another one of its category was asked for."""

    category: str
    asked: str
    boxed: str
    cases: int


def judge(case: Case, objects: Sequence[Object]) -> Judged:
    """`objects` are all that the picture is known to show; where none are known, a wrong box hit `no object`."""
    if case.correct:
        return Judged("right")
    if case.official == NOTHING:
        return Judged("no box")
    boxed = [(raw_iou(thing.box.as_tuple(), case.official), thing.entity) for thing in objects]
    overlap, entity = max(boxed, default=(0.0, ""))
    if overlap >= IOU_THRESHOLD and entity != case.entity:
        return Judged("a look-alike", entity)
    return Judged("no object")


class Tally:
    """Judgements counted, by kind and by who was taken for whom."""

    def __init__(self) -> None:
        self.kinds: Counter[Kind] = Counter()
        self._confused: Counter[tuple[str, str, str]] = Counter()

    def add(self, case: Case, objects: Sequence[Object]) -> None:
        """Judge one more case."""
        judged = judge(case, objects)
        self.kinds[judged.kind] += 1
        if judged.instead is not None:
            self._confused[case.category, case.entity, judged.instead] += 1

    def confusions(self, most: int) -> list[Confusion]:
        """The most frequent ones first, then by name."""
        ranked = sorted(self._confused.items(), key=lambda item: (-item[1], item[0]))
        return [Confusion(*names, count) for names, count in ranked[:most]]
