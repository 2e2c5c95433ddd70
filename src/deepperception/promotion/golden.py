"""Golden pictures: questions that the candidate answered right, asked again of its service before it counts."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepperception.artifacts import read_cases, read_rows
from deepperception.artifacts.evaluations import IOU_THRESHOLD
from deepperception.errors import GateRefused, InfrastructureError
from deepperception.grounding import Box, raw_iou
from deepperception.tracking import MODEL

_TIMEOUT_S = 300  # one picture, on a CPU that may be busy


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


def check(url: str, golden: Sequence[Golden], share: float) -> int:
    """Ask the service at `url` for every golden picture; returns how many it got right.

    GateRefused where fewer than `share` of them are; InfrastructureError where it does not answer.
    """
    right = sum(_is_right(_predict(url, picture), picture.target) for picture in golden)
    if right < share * len(golden):
        raise GateRefused(
            f"the service answers {right} of {len(golden)} golden pictures right, where its evaluation had all; "
            "the champion stays, compare the service's engine and settings with the evaluation's."
        )
    return right


def _predict(url: str, picture: Golden) -> object:
    instance = {"image": {"b64": base64.b64encode(picture.image).decode()}, "entity": picture.entity}
    request = urllib.request.Request(
        f"{url.rstrip('/')}/v1/models/{MODEL}:predict",
        data=json.dumps({"instances": [instance]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)["predictions"][0]["box_1000"]
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(500).decode(errors="replace")
        raise InfrastructureError(f"{url}: the service refused a golden picture ({error.code}: {said}).") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InfrastructureError(f"{url}: the service gave no prediction for a golden picture ({error!r}).") from None


def _is_right(box: object, target: Box) -> bool:
    if not isinstance(box, list) or len(box) != 4:  # null where it found nothing
        return False
    x1, y1, x2, y2 = (float(corner) for corner in box)
    return raw_iou((x1, y1, x2, y2), target.as_tuple()) >= IOU_THRESHOLD
