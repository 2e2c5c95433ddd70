"""From scored cases to metrics.json."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepperception.artifacts.evaluations import IOU_THRESHOLD, Case, Reply
from deepperception.grounding import Sample, official_box, raw_iou, robust_box
from deepperception.grounding.boxes import FRAME
from deepperception.grounding.official import NOTHING
from deepperception.statistics import paired_bootstrap, pass_at, wilson

MISSING = "missing"
FAULTS = (MISSING, "no_box", "reversed", "outside")
"""What can be wrong with the box of a reply, as the official parser reads it; outside is of the frame, 0 to 1000."""


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
        official=official if all(map(math.isfinite, official)) else NOTHING,
        official_iou=raw_iou(official, target.as_tuple()),
        robust=robust.as_tuple() if robust else None,
        robust_iou=robust.iou(target) if robust else 0.0,
        form=form if replies else MISSING,
        others=tuple(Reply(other, raw_iou(official_box(other), target.as_tuple())) for other in replies[1:])
        if len(replies) > 1
        else (),
        description=description,
    )


def metrics(cases: Iterable[Case], *, benchmark: Mapping[str, Any], backend: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metrics.json; see `Tally`."""
    tally = Tally()
    for case in cases:
        tally.add(case)
    return tally.metrics(benchmark=benchmark, backend=backend)


class Tally:
    """Adds cases up as they come; keeps sums and no cases.

    Where several replies are drawn for each question, how many were right is kept: 4 bytes a case.
    """

    def __init__(self) -> None:
        self.cases = 0
        self.correct = 0
        self._official, self._robust = Sums(), Sums()
        self._forms: Counter[str] = Counter()
        self._faults: Counter[str] = Counter(dict.fromkeys(FAULTS, 0))
        self._samples = 1
        self._right = {True: array("I"), False: array("I")}

    def add(self, case: Case) -> None:
        """Count a case in."""
        self.cases += 1
        self.correct += case.correct
        self._official.add(case, case.official_iou)
        self._robust.add(case, case.robust_iou)
        self._forms[case.form] += 1
        if fault := _fault(case):
            self._faults[fault] += 1
        if case.others:
            self._samples = 1 + len(case.others)
        if case.others or case.form == MISSING:
            self._right[case.seen].append(case.right_replies)

    def metrics(self, *, benchmark: Mapping[str, Any], backend: Mapping[str, Any]) -> dict[str, Any]:
        """The content of metrics.json.

        Shares are fractions of 1, right means an IoU of 0.5 or more; a split without a case has no accuracy (null) and
        the interval from 0 to 1. `replies` counts what is wrong with the boxes as the official parser reads them,
        `robust.forms` the ways in which they were written. Where several replies were drawn, `official` scores the
        first one, and `sampled` all of them, by the official parser.
        """
        content = {
            "benchmark": dict(benchmark),
            "backend": dict(backend),
            "official": self._official.scores(),
            "robust": {**self._robust.scores(), "forms": dict(sorted(self._forms.items()))},
            "replies": dict(self._faults),
        }
        if self._samples > 1:
            seen, unseen = self._right[True], self._right[False]
            splits = {"all": seen + unseen, "seen": seen, "unseen": unseen}
            content["sampled"] = {name: _sampled(right, self._samples) for name, right in splits.items()}
        return content


class Sums:
    """Cases, right ones and the sum of IoUs: of all, of seen and unseen ones, and of each category."""

    def __init__(self) -> None:
        self._by_category: dict[str, list[float]] = {}
        self._by_seen: dict[bool, list[float]] = {True: [0, 0, 0.0], False: [0, 0, 0.0]}
        self._all: list[float] = [0, 0, 0.0]

    def add(self, case: Case, iou: float) -> None:
        """Count a case of this IoU in."""
        of_category = self._by_category.setdefault(case.category, [0, 0, 0.0])
        for sums in (self._all, self._by_seen[case.seen], of_category):
            sums[0] += 1
            sums[1] += iou >= IOU_THRESHOLD
            sums[2] += iou

    def scores(self) -> dict[str, Any]:
        """By split, and by category."""
        return {
            "all": _score(self._all),
            "seen": _score(self._by_seen[True]),
            "unseen": _score(self._by_seen[False]),
            "categories": {name: _score(sums) for name, sums in sorted(self._by_category.items())},
        }


def _score(sums: Sequence[float]) -> dict[str, Any]:
    cases, correct, iou = int(sums[0]), int(sums[1]), sums[2]
    return {
        "cases": cases,
        "correct": correct,
        "accuracy": correct / cases if cases else None,
        "accuracy_ci95": list(wilson(correct, cases)),
        "mean_iou": iou / cases if cases else None,
    }


def _fault(case: Case) -> str | None:
    """What is wrong with the box that the official parser read, if anything is."""
    x1, y1, x2, y2 = case.official
    if case.form == MISSING:
        return MISSING
    if case.official == NOTHING:
        return "no_box"
    if not (x1 < x2 and y1 < y2):
        return "reversed"
    return "outside" if min(x1, y1) < 0 or max(x2, y2) > FRAME else None


def _sampled(right: Sequence[int], samples: int) -> dict[str, Any]:
    """Mean accuracy over all replies, its interval over cases, and pass@k: that one of k replies is right.

    `right` are the numbers of right replies, case by case.
    """
    if not right:
        return {"cases": 0, "samples": 0, "accuracy": None, "accuracy_ci95": [0.0, 1.0], "pass_at": {}}
    shares = [count / samples for count in right]
    mean, low, high = paired_bootstrap(shares, [0.0] * len(shares), seed=0)
    ks = sorted({1, samples, *(2**power for power in range(1, samples.bit_length()) if 2**power < samples)})
    passed = {str(k): sum(pass_at(k, count, samples) for count in right) / len(right) for k in ks}
    return {
        "cases": len(right),
        "samples": samples,
        "accuracy": mean,
        "accuracy_ci95": [low, high],
        "pass_at": passed,
    }
