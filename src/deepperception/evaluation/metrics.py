"""From scored cases to metrics.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepperception.artifacts.evaluations import IOU_THRESHOLD, Case
from deepperception.grounding import Sample, official_box, raw_iou, robust_box
from deepperception.grounding.official import NOTHING
from deepperception.statistics import wilson

MISSING = "missing"


def score(sample: Sample, text: str | None) -> Case:
    """Reads one reply as the paper's evaluator does and as the project does; None, no reply at all, is wrong."""
    target = sample.target
    official = official_box(text or "")
    robust, form = robust_box(text or "")
    return Case(
        question_id=sample.question_id,
        category=sample.category,
        seen=sample.seen,
        entity=sample.entity,
        target=target.as_tuple(),
        text=text or "",
        # A reply may spell out "nan", which is no number in JSON; it overlaps with nothing either way.
        official=official if all(abs(corner) < float("inf") for corner in official) else NOTHING,
        official_iou=raw_iou(official, target.as_tuple()),
        robust=robust.as_tuple() if robust else None,
        robust_iou=robust.iou(target) if robust else 0.0,
        form=MISSING if text is None else form,
    )


def metrics(cases: Sequence[Case], *, benchmark: Mapping[str, Any], backend: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metrics.json.

    Shares are fractions of 1, right means an IoU of 0.5 or more; a split without a case has no accuracy (null) and the
    interval from 0 to 1. `robust.forms` counts the ways in which the boxes were written.
    """
    forms = Counter(case.form for case in cases)
    return {
        "benchmark": dict(benchmark),
        "backend": dict(backend),
        "official": _scores(cases, lambda case: case.official_iou),
        "robust": {**_scores(cases, lambda case: case.robust_iou), "forms": dict(sorted(forms.items()))},
    }


def _scores(cases: Sequence[Case], iou: Callable[[Case], float]) -> dict[str, Any]:
    categories = sorted({case.category for case in cases})
    return {
        "all": _score([iou(case) for case in cases]),
        "seen": _score([iou(case) for case in cases if case.seen]),
        "unseen": _score([iou(case) for case in cases if not case.seen]),
        "categories": {name: _score([iou(case) for case in cases if case.category == name]) for name in categories},
    }


def _score(ious: Sequence[float]) -> dict[str, Any]:
    correct = sum(iou >= IOU_THRESHOLD for iou in ious)
    return {
        "cases": len(ious),
        "correct": correct,
        "accuracy": correct / len(ious) if ious else None,
        "accuracy_ci95": list(wilson(correct, len(ious))),
        "mean_iou": sum(ious) / len(ious) if ious else None,
    }
