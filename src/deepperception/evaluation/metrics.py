"""From scored cases to metrics.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepperception.artifacts.evaluations import IOU_THRESHOLD, Case, Reply
from deepperception.grounding import Sample, official_box, raw_iou, robust_box
from deepperception.grounding.official import NOTHING
from deepperception.statistics import paired_bootstrap, pass_at, wilson

MISSING = "missing"


def score(sample: Sample, replies: Sequence[str], *, description: str | None = None) -> Case:
    """Reads replies as the paper's evaluator does and as the project does.

    The first reply is the answer; no reply at all is wrong.
    """
    target = sample.target
    text = replies[0] if replies else ""
    official = official_box(text)
    robust, form = robust_box(text)
    return Case(
        question_id=sample.question_id,
        category=sample.category,
        seen=sample.seen,
        entity=sample.entity,
        target=target.as_tuple(),
        text=text,
        # A reply may spell out "nan", which is no number in JSON; it overlaps with nothing either way.
        official=official if all(abs(corner) < float("inf") for corner in official) else NOTHING,
        official_iou=raw_iou(official, target.as_tuple()),
        robust=robust.as_tuple() if robust else None,
        robust_iou=robust.iou(target) if robust else 0.0,
        form=form if replies else MISSING,
        others=tuple(Reply(other, raw_iou(official_box(other), target.as_tuple())) for other in replies[1:]),
        description=description,
    )


def metrics(cases: Sequence[Case], *, benchmark: Mapping[str, Any], backend: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metrics.json.

    Shares are fractions of 1, right means an IoU of 0.5 or more; a split without a case has no accuracy (null) and the
    interval from 0 to 1. `robust.forms` counts the ways in which the boxes were written. Where several replies were
    drawn, `official` scores the first one, and `sampled` all of them, by the official parser.
    """
    forms = Counter(case.form for case in cases)
    content = {
        "benchmark": dict(benchmark),
        "backend": dict(backend),
        "official": _scores(cases, lambda case: case.official_iou),
        "robust": {**_scores(cases, lambda case: case.robust_iou), "forms": dict(sorted(forms.items()))},
    }
    if any(case.others for case in cases):
        content["sampled"] = {
            "all": _sampled(cases),
            "seen": _sampled([case for case in cases if case.seen]),
            "unseen": _sampled([case for case in cases if not case.seen]),
        }
    return content


def _sampled(cases: Sequence[Case]) -> dict[str, Any]:
    """Mean accuracy over all replies, its interval over cases, and pass@k: that one of k replies is right."""
    if not cases:
        return {"cases": 0, "samples": 0, "accuracy": None, "accuracy_ci95": [0.0, 1.0], "pass_at": {}}
    samples = 1 + len(cases[0].others)
    right = [case.right_replies for case in cases]
    shares = [count / samples for count in right]
    mean, low, high = paired_bootstrap(shares, [0.0] * len(shares), seed=0)
    ks = sorted({1, samples, *(2**power for power in range(1, samples.bit_length()) if 2**power < samples)})
    passed = {str(k): sum(pass_at(k, count, samples) for count in right) / len(cases) for k in ks}
    return {
        "cases": len(cases),
        "samples": samples,
        "accuracy": mean,
        "accuracy_ci95": [low, high],
        "pass_at": passed,
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
