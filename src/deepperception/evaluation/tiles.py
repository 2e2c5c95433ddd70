"""The gallery of an evaluation's page: its cases drawn, right and wrong ones, as many as a page can carry."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import TypeVar

from PIL import Image

from deepperception.artifacts.choice_cases import ChoiceCase
from deepperception.artifacts.evaluations import Case
from deepperception.errors import InputError
from deepperception.evaluation.drawing import draw_boxes
from deepperception.evaluation.gallery import marks_of, verdict_on
from deepperception.evaluation.html import data_uri
from deepperception.grounding import LETTERS, ChoiceSample, Sample, parse
from deepperception.inference.images import open_image

MOST_TILES = 160
MOST_PICTURE_BYTES = 6_000_000
"""Of all pictures of a page together; tiles beyond it have none."""
_SIDE = 360
_LONGEST_TEXT = 2_000

AnyCase = TypeVar("AnyCase", Case, ChoiceCase)
Judged = Mapping[str, str]
"""question_id -> kind of the answer."""


@dataclass(frozen=True)
class Tile:
    """One case as the page shows it."""

    question_id: str
    category: str
    seen: bool
    kind: str
    right: bool
    title: str
    verdict: str
    text: str
    """The reasoning, or the whole reply where there is none."""
    picture: str | None
    """As a data URI; None where it cannot be read, or the page has no room left."""
    choices: Sequence[tuple[str, str, str]] = field(default=())
    """(letter, name, what it is: "right", "chosen" or "") of multiple choice."""


def choose_tiles(cases: Sequence[AnyCase], kinds: Judged, most: int = MOST_TILES) -> list[AnyCase]:
    """At most `most` cases: kinds of answers take turns, and within each the categories, in the benchmark's order.

    Nothing is picked by hand, and what is rare is not drowned by what is frequent.
    """
    by_kind: defaultdict[str, defaultdict[str, list[AnyCase]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        by_kind[kinds[case.question_id]][case.category].append(case)
    return _in_turns([_in_turns(list(categories.values())) for _, categories in sorted(by_kind.items())])[:most]


class TileMaker:
    """Draws cases until the page is full."""

    def __init__(self, kinds: Judged, room: int = MOST_PICTURE_BYTES) -> None:
        self.kinds, self.room = kinds, room

    def of_box(self, case: Case, sample: Sample) -> Tile:
        """The target dashed, the model's box solid."""
        picture = self._drawn(sample.image, case.question_id, case)
        return self._tile(case, case.correct, verdict_on(case, sample), picture)

    def of_letter(self, case: ChoiceCase, sample: ChoiceSample) -> Tile:
        """The picture, and the four names."""
        verdict = "right" if case.correct else "wrong: no letter in the reply"
        if not case.correct and case.chosen is not None:
            verdict = "not written as a letter" if case.tolerantly_correct else f"wrong: took it for {case.chosen}"
        choices = [
            (letter, name, "right" if letter == case.answer else "chosen" if letter == case.letter else "")
            for letter, name in zip(LETTERS, case.choices, strict=True)
        ]
        picture = self._drawn(sample.image, case.question_id, None)
        return self._tile(case, case.correct, verdict, picture, choices)

    def _tile(
        self,
        case: Case | ChoiceCase,
        right: bool,
        verdict: str,
        picture: str | None,
        choices: Sequence[tuple[str, str, str]] = (),
    ) -> Tile:
        text = parse(case.text).reasoning or case.text or "(no reply)"
        return Tile(
            question_id=case.question_id,
            category=case.category,
            seen=case.seen,
            kind=self.kinds[case.question_id],
            right=right,
            title=case.entity,
            verdict=verdict,
            text=text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…",
            picture=picture,
            choices=choices,
        )

    def _drawn(self, content: bytes, question_id: str, case: Case | None) -> str | None:
        if self.room <= 0:
            return None
        try:
            image = open_image(content, name=f"the picture of {question_id}")
        except InputError:
            return None
        image.thumbnail((2 * _SIDE, 2 * _SIDE))
        picture = draw_boxes(image, [] if case is None else marks_of(case, image), side=_SIDE)
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=82)
        self.room -= len(buffer.getvalue())
        return data_uri(buffer.getvalue(), "jpeg")


def _in_turns(lists: Iterable[Sequence[AnyCase]]) -> list[AnyCase]:
    return [case for case in chain.from_iterable(zip_longest(*lists)) if case is not None]
