"""Golden pictures: questions that the candidate answered right, asked again of its service before it counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deepperception.artifacts import read_cases, read_rows
from deepperception.artifacts.evaluations import IOU_THRESHOLD
from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.grounding import Box, raw_iou
from deepperception.promotion.cluster import Corners


class Asked(Protocol):
    """Whatever answers questions at a URL."""

    def ask(self, url: str, image: bytes, entity: str) -> Corners | None: ...


@dataclass(frozen=True)
class Golden:
    """One question with a known answer."""

    question_id: str
    image: bytes
    entity: str
    target: Box


def choose(evaluation: Path, benchmark: Path, count: int) -> list[Golden]:
    """The `count` cases that the evaluation answered most exactly, with their pictures from the benchmark file.

    The most exact ones are the last to turn wrong by rounding. Fewer where fewer were right.
    """
    right = sorted(
        (case for case in read_cases(evaluation) if case.correct), key=lambda c: (-c.official_iou, c.question_id)
    )
    wanted = {case.question_id for case in right[:count]}
    if not wanted:
        return []
    rows = (row for row in read_rows(benchmark) if row.question_id in wanted)
    return [Golden(row.question_id, row.image, row.entity, row.target) for row in rows]


@dataclass(frozen=True)
class Answered:
    """How a service answered."""

    right: int
    asked: int
    seconds: list[float]
    """Of each answer, in the order of the pictures."""

    @property
    def told(self) -> str:
        return f"{self.right} of {self.asked} golden pictures right"


def ask(cluster: Asked, url: str, golden: Sequence[Golden], share: float) -> Answered:
    """Ask the service at `url` for every golden picture, one after the other.

    GateRefused where fewer than `share` of them are right; InfrastructureError where it does not answer.
    """
    right, seconds = 0, []
    for picture in golden:
        began = time.monotonic()
        right += _is_right(cluster, url, picture)
        seconds.append(time.monotonic() - began)
    if right < share * len(golden):
        raise GateRefused(
            f"the service answers {right} of {len(golden)} golden pictures right, where its evaluation had all; "
            "the champion stays, compare the service's engine and settings with the evaluation's."
        )
    return Answered(right, len(golden), seconds)


def _is_right(cluster: Asked, url: str, picture: Golden) -> bool:
    try:
        box = cluster.ask(url, picture.image, picture.entity)
    except (InfrastructureError, InputError) as error:  # a refusal, too: evaluation has read this picture
        raise InfrastructureError(f"the service gave no prediction for a golden picture: {error}") from None
    return box is not None and raw_iou(box, picture.target.as_tuple()) >= IOU_THRESHOLD
