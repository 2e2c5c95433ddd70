"""The chosen settings over all their seeds, on test: what the report of one training cannot say."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from deepperception.statistics import over_seeds

SPLITS = ("seen", "unseen", "all")


def replicated(metrics: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Model -> split -> accuracy, ci95, cases, and over the seeds sd and each value.

    `metrics`: model -> the metrics.json of each seed, in the same order; of a model that no seed changes just one.
    """
    return {model: {split: _over([each["official"][split] for each in every]) for split in SPLITS}
            for model, every in metrics.items()}  # fmt: skip


def _over(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    cases = scores[0]["cases"]
    if not cases:  # a split that the benchmark has no case of
        return {
            "accuracy": scores[0]["accuracy"],
            "ci95": scores[0]["accuracy_ci95"],
            "cases": 0,
            "sd": None,
            "each": [],
        }
    each = [score["accuracy"] for score in scores]
    mean, low, high = over_seeds(each, cases)
    deviation = statistics.stdev(each) if len(each) > 1 else None
    return {"accuracy": mean, "ci95": [low, high], "cases": cases, "sd": deviation, "each": each}
