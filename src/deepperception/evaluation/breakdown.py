"""Accuracy by what a picture is like: how many candidates it shows, and how large the one asked for is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from deepperception.artifacts.datasets import sound_rows
from deepperception.artifacts.evaluations import Case
from deepperception.grounding import Box, Sample
from deepperception.statistics import wilson

SIZES = (0.01, 0.05, 0.1, 0.2, 0.4)
"""Shares of the picture's area that part the groups of box sizes."""


def breakdowns(
    cases: Mapping[str, Case], benchmark: Path, *, seen: Collection[str] | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    """{"candidates": {"3": {"all": score, "seen": ..., "unseen": ...}}, "box_size": {"5 to 10 %": ...}}.

    Without known objects in the benchmark there is no number of candidates: that part is then empty.
    """
    rows = [
        (cases[row.question_id], len(row.objects), size_group(row.target))
        for row in sound_rows(benchmark, seen=seen, pictures=False)
        if row.question_id in cases
    ]
    counted = sorted({count for _, count, _ in rows if count})
    sizes = [name for name in size_groups() if any(name == size for _, _, size in rows)]
    return {
        "candidates": {str(n): split_scores(case for case, count, _ in rows if count == n) for n in counted},
        "box_size": {name: split_scores(case for case, _, size in rows if size == name) for name in sizes},
    }


def size_group(box: Box) -> str:
    """The group of a box, by its share of the picture."""
    share = box.area / 1e6
    return size_groups()[sum(share >= edge for edge in SIZES)]


def size_groups() -> list[str]:
    """Names of the groups, the smallest first."""
    edges = [f"{100 * edge:g}" for edge in SIZES]
    between = [f"{low} to {high} %" for low, high in itertools.pairwise(edges)]
    return [f"under {edges[0]} %", *between, f"over {edges[-1]} %"]


def split_scores(
    cases: Iterable[Case], right: Callable[[Case], bool] = lambda case: case.correct
) -> dict[str, dict[str, Any]]:
    """Scores of all, of the seen and of the unseen; see `share_of`."""
    listed = list(cases)
    return {
        "all": share_of([right(case) for case in listed]),
        "seen": share_of([right(case) for case in listed if case.seen]),
        "unseen": share_of([right(case) for case in listed if not case.seen]),
    }


def share_of(right: Collection[bool]) -> dict[str, Any]:
    """{"cases", "correct", "accuracy", "accuracy_ci95"}: Wilson's interval; accuracy None without a case."""
    cases, correct = len(right), sum(right)
    return {
        "cases": cases,
        "correct": correct,
        "accuracy": correct / cases if cases else None,
        "accuracy_ci95": list(wilson(correct, cases)),
    }


def names_by_category(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """All entities that a benchmark shows or asks for, by category."""
    names: dict[str, set[str]] = {}
    for sample in samples:
        names.setdefault(sample.category, set()).update([sample.entity, *(thing.entity for thing in sample.objects)])
    return {category: sorted(found) for category, found in sorted(names.items())}
