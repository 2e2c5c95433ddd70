"""Twelve predictions to look at, right and wrong, chosen by rule and drawn on their pictures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from PIL import Image

from deepperception.artifacts.evaluations import IOU_THRESHOLD, Case
from deepperception.evaluation.drawing import RIGHT, TARGET, WRONG, Mark, PixelBox, draw_boxes
from deepperception.evaluation.mistakes import judge
from deepperception.grounding import Sample, parse
from deepperception.grounding.official import NOTHING
from deepperception.inference.images import open_image

SHOWN = 12

Cases = Mapping[str, Case]
"""One model's, by question_id."""


@dataclass(frozen=True)
class Card:
    """One prediction as the report shows it: the drawn picture, and what is written beside it."""

    case: Case
    picture: Image.Image
    png: bytes
    """The same picture as a file."""
    reasoning: str | None
    verdict: str
    others: Mapping[str, bool]
    """Model label -> whether it got this case right."""


def choose(cases: Sequence[Case], count: int = SHOWN) -> list[Case]:
    """Half right and half wrong, half seen and half unseen as far as there are such cases; right ones first.

    Within each kind the categories take turns, in the benchmark's order: nothing is picked by hand.
    """
    kinds = [
        _interleaved(_by_category(case for case in cases if case.correct == right and case.seen == seen))
        for right in (True, False)
        for seen in (True, False)
    ]
    return sorted(_interleaved(kinds)[:count], key=lambda case: (not case.correct, not case.seen))


def cards(chosen: Sequence[Case], samples: Mapping[str, Sample], by_model: Mapping[str, Cases]) -> list[Card]:
    """The chosen cases drawn. `samples` has their rows of the benchmark, by question_id."""
    return [_card(case, samples[case.question_id], by_model) for case in chosen]


def _card(case: Case, sample: Sample, by_model: Mapping[str, Cases]) -> Card:
    image = open_image(sample.image, name=f"the picture of {case.question_id}")
    picture = draw_boxes(image, marks_of(case, image))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Card(
        case=case,
        picture=picture,
        png=buffer.getvalue(),
        reasoning=parse(case.text).reasoning,
        verdict=verdict_on(case, sample),
        others={label: of[case.question_id].correct for label, of in by_model.items() if case.question_id in of},
    )


def marks_of(case: Case, image: Image.Image) -> list[Mark]:
    """The target dashed, the model's box solid, in pixels of the picture."""
    marks = [Mark(_pixels(case.target, image), case.entity, TARGET, dashed=True)]
    if case.official != NOTHING:
        label = f"predicted, IoU {case.official_iou:.2f}"
        marks.append(Mark(_pixels(case.official, image), label, RIGHT if case.correct else WRONG))
    return marks


def verdict_on(case: Case, sample: Sample) -> str:
    """What became of a case, in a few words."""
    judged = judge(case, sample.objects)
    if judged.kind == "right":
        return f"right, IoU {case.official_iou:.2f}"
    if judged.kind == "no box":
        return "wrong: no box in the reply"
    if judged.instead is not None:
        return f"wrong: boxed the {judged.instead} instead"
    return f"wrong: IoU {case.official_iou:.2f} with the target, {IOU_THRESHOLD} is asked"


def _pixels(corners: PixelBox, image: Image.Image) -> PixelBox:
    """Thousandths to pixels. A reply may hold any number; far outside is as good as just outside, and can be drawn."""
    x1, y1, x2, y2 = (min(max(corner, -1000.0), 2000.0) / 1000 for corner in corners)
    return (x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height)


def _by_category(cases: Iterable[Case]) -> list[list[Case]]:
    categories: dict[str, list[Case]] = {}
    for case in cases:
        categories.setdefault(case.category, []).append(case)
    return list(categories.values())


def _interleaved(lists: Sequence[Sequence[Case]]) -> list[Case]:
    """The first of each, then the second of each, and so on."""
    return [case for case in chain.from_iterable(zip_longest(*lists)) if case is not None]
