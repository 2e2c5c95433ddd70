"""Multiple-choice questions about a benchmark's own objects: does a model know what it is to find?"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from deepperception.artifacts.datasets import sound_rows
from deepperception.errors import InputError
from deepperception.evaluation.breakdown import names_by_category
from deepperception.grounding import LETTERS, Box, ChoiceSample, Object, Sample, choice_question
from deepperception.inference.images import MAX_ASPECT, open_image

_MARGIN = 0.1
"""Of a box's sides, left around it in a crop."""


class Probes:
    """Questions about one benchmark file. `left_out` are its categories of fewer than four entities."""

    def __init__(self, benchmark: Path, *, seed: int = 0, seen: Collection[str] | None = None) -> None:
        self.benchmark, self.seed, self.seen = benchmark, seed, seen
        names = names_by_category(sound_rows(benchmark, seen=seen, pictures=False))
        self.names: Mapping[str, Sequence[str]] = {key: of for key, of in names.items() if len(of) >= len(LETTERS)}
        self.left_out = sorted(names.keys() - self.names.keys())
        if not self.names:
            raise InputError(f"{benchmark}: no category has the {len(LETTERS)} entities that a question takes.")

    def of_knowledge(self, pictures: int) -> Iterator[ChoiceSample]:
        """What is this? Each object of the benchmark cut out, at most `pictures` an entity (paper, section 2.7: 50).

        A photo that is in several pictures is asked about once.
        """
        asked: Counter[str] = Counter()
        met: set[tuple[str, str]] = set()
        for row in self._rows():
            objects = row.objects or (Object(row.entity, row.target),)
            for place, thing in enumerate(objects):
                photo = row.sources[place].id if len(row.sources) == len(objects) else f"{row.question_id}/{place}"
                if asked[thing.entity] >= pictures or (thing.entity, photo) in met:
                    continue
                if (cut := _cut(row, thing.box)) is None:
                    continue
                met.add((thing.entity, photo))
                asked[thing.entity] += 1
                rng = Random(f"{self.seed}/{row.question_id}/{place}")
                yield self._sample(row, f"{row.question_id}/{place}", thing.entity, (), rng, image=cut)

    def of_recognition(self) -> Iterator[ChoiceSample]:
        """What is in the target's box? For each row, the picture's other entities first among the distractors.

        Paper (v3), table 8. The questions have the ids of the rows.
        """
        for row in self._rows():
            others = [thing.entity for thing in row.objects]
            rng = Random(f"{self.seed}/{row.question_id}")
            yield self._sample(row, row.question_id, row.entity, others, rng, box=row.target)

    def _rows(self) -> Iterator[Sample]:
        return (row for row in sound_rows(self.benchmark, seen=self.seen) if row.category in self.names)

    def _sample(
        self,
        row: Sample,
        question_id: str,
        entity: str,
        nearest: Sequence[str],
        rng: Random,
        *,
        image: bytes | None = None,
        box: Box | None = None,
    ) -> ChoiceSample:
        near = sorted(set(nearest) - {entity})
        far = sorted(set(self.names[row.category]) - {entity, *near})
        distractors = [*rng.sample(near, len(near)), *rng.sample(far, len(far))][: len(LETTERS) - 1]
        choices = [entity, *distractors]
        rng.shuffle(choices)
        return ChoiceSample(
            question_id=question_id,
            category=row.category,
            question=choice_question(row.category, choices, box),
            choices=tuple(choices),
            answer=LETTERS[choices.index(entity)],
            image=image or row.image,
            seen=row.seen,
        )


def _cut(row: Sample, box: Box) -> bytes | None:
    """The part of the picture in the box, and a little around it; None where no model could look at it."""
    image = open_image(row.image, name=f"the picture of {row.question_id}")
    x1, y1, x2, y2 = box.to_pixels(*image.size)
    wide, high = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
    corners = (max(0, x1 - wide), max(0, y1 - high), min(image.width, x2 + wide), min(image.height, y2 + high))
    part = image.crop((int(corners[0]), int(corners[1]), round(corners[2]), round(corners[3])))
    if min(part.size) < 1 or max(part.size) > MAX_ASPECT * min(part.size):
        return None
    buffer = io.BytesIO()
    part.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
