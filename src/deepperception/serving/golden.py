"""Golden pictures: what a server must answer before it calls itself ready, and what its page offers to try."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deepperception.artifacts import read_rows
from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.grounding import Box, raw_iou
from deepperception.inference.images import MAX_ASPECT, examine
from deepperception.serving.finder import Query
from deepperception.serving.limits import Noted, Refusal
from deepperception.serving.service import Service

MOST = 8
"""Pictures that are asked for; a start should not take long."""
_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Golden:
    """A picture's file, a name, and where the named is: None where any reply will do."""

    image: bytes
    entity: str
    target: Box | None = None


def read_golden(file: Path) -> list[Golden]:
    """The first rows of a dataset file; InputError where there is none."""
    rows = [Golden(row.image, row.entity, row.target) for row in itertools.islice(read_rows(file), MOST)]
    if not rows:
        raise InputError(f"{file}: there are no golden pictures in it; give a dataset file with a few rows.")
    return rows


def any_picture() -> Golden:
    """For a model without golden pictures: it has to say something."""
    file = io.BytesIO()
    Image.new("RGB", (112, 112), (128, 128, 128)).save(file, "PNG")
    return Golden(file.getvalue(), "object")


async def check(service: Service, golden: Sequence[Golden], share: float) -> int:
    """Ask for every picture, as a client would; returns how many were answered right.

    GateRefused where fewer than `share` of them were; InfrastructureError where the engine fails.
    """
    queries = [Query(each.image, examine(each.image, max_aspect=MAX_ASPECT).upright, each.entity) for each in golden]
    try:
        predictions = await service.predict(queries, Noted())
    except Refusal as refusal:
        raise InfrastructureError(f"the model failed on a golden picture: {refusal.sentence}") from None
    right = 0
    for each, prediction in zip(golden, predictions, strict=True):
        found = prediction.box_1000
        right += each.target is None or (found is not None and raw_iou(found, each.target.as_tuple()) >= _IOU)
    if right < share * len(golden):
        raise GateRefused(
            f"the model answers {right} of {len(golden)} golden pictures right; check that it is the one they were "
            "made with, and its engine and settings those of its evaluation."
        )
    return right
