"""One row of a dataset, made from its number."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from deepperception.grounding import Box, Object, Sample, Source, Split, answer_text, question
from deepperception.inference.ahead import ahead
from deepperception.synthesis.compose import compose, encode
from deepperception.synthesis.config import Layout, SynthesisConfig
from deepperception.synthesis.pools import Pool

FILES: dict[str, Split] = {"sft": "train", "rl": "train", "validation": "validation", "test": "test"}
"""The files of a dataset folder, `<name>.parquet`, and the split whose photos each may use."""
_SPLIT_OF: dict[str, Split] = {**FILES, "train": "train"}

_AHEAD_PER_CORE = 4


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Row:
    """A sample, and what made it that no dataset column keeps."""

    sample: Sample
    layout: Layout


@dataclass(frozen=True)
class RowMaker:
    """Makes any row of any file, in any order: a row depends on (seed, file, index) alone."""

    config: SynthesisConfig
    pools: Mapping[Split, Pool]
    seed: int

    def rows(self, file: str, first: int = 0) -> Iterator[Row]:
        """The rows of a file from number `first` on, without end; a few are made ahead, a thread for each core.

        Threads serve, and not processes: Pillow and OpenCV let others run while they work on pixels.
        """
        return ahead(
            partial(self.row, file), itertools.count(first), workers=cores(), at_most=_AHEAD_PER_CORE * cores()
        )

    def row(self, file: str, index: int) -> Row:
        """A composed picture with its question and exact boxes in whole thousandths; no reasoning yet."""
        rng = Random(f"{self.seed}/{file}/{index}")
        split = _SPLIT_OF[file]
        drawn = self.pools[split].draw(index, rng)
        picture = compose(drawn.photos, drawn.layout, rng, self.config.canvas)
        width, height = picture.image.size
        objects = tuple(
            Object(photo.entity, Box.from_pixels(*box, width=width, height=height).rounded())
            for photo, box in zip(drawn.photos, picture.boxes, strict=True)
        )
        target = objects[drawn.target]
        sample = Sample(
            question_id=f"{drawn.category}/{index}",
            category=drawn.category,
            question=question(target.entity),
            answer=answer_text(target.entity, target.box),
            image=encode(picture.image, self.config.canvas),
            entity=target.entity,
            objects=objects,
            sources=tuple(Source(photo.id, photo.licence) for photo in drawn.photos),
            split=split,
            seen=drawn.seen,
            box_origins=tuple(photo.box_origin for photo in drawn.photos),
        )
        return Row(sample, picture.layout)
