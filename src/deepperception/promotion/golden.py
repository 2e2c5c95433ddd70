"""Golden pictures: questions that the candidate answered right, asked again of its service before it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepperception.artifacts import read_cases, read_rows
from deepperception.artifacts.evaluations import IOU_THRESHOLD
from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.grounding import Box, raw_iou
from deepperception.promotion.cluster import Cluster


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


def check(cluster: Cluster, url: str, golden: Sequence[Golden], share: float) -> int:
    """Ask the service at `url` for every golden picture; returns how many it got right.

    GateRefused where fewer than `share` of them are; InfrastructureError where it does not answer.
    """
    right = sum(_is_right(cluster, url, picture) for picture in golden)
    if right < share * len(golden):
        raise GateRefused(
            f"the service answers {right} of {len(golden)} golden pictures right, where its evaluation had all; "
            "the champion stays, compare the service's engine and settings with the evaluation's."
        )
    return right


def _is_right(cluster: Cluster, url: str, picture: Golden) -> bool:
    try:
        box = cluster.ask(url, picture.image, picture.entity)
    except (InfrastructureError, InputError) as error:  # a refusal, too: evaluation has read this picture
        raise InfrastructureError(f"the service gave no prediction for a golden picture: {error}") from None
    return box is not None and raw_iou(box, picture.target.as_tuple()) >= IOU_THRESHOLD
