"""Honest error bars: an interval for a share, and two tests for results on the same cases."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

_DRAWS_AT_ONCE = 4_000_000


def wilson(correct: int, cases: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for the share `correct / cases`, within [0, 1].

    Unlike the normal interval it stays honest at few cases and near 0 and 1. Without cases nothing is known: (0, 1).
    """
    if not 0 <= correct <= cases:
        raise ValueError(f"{correct} correct of {cases} cases is not possible")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence} is not possible; it lies between 0 and 1")
    if cases == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / cases
    centre = share + z * z / (2 * cases)
    half_width = z * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    scale = 1 + z * z / cases
    # At the ends the bound is the end itself; the formula misses it by a rounding error.
    low = 0.0 if correct == 0 else (centre - half_width) / scale
    high = 1.0 if correct == cases else (centre + half_width) / scale
    return low, high


def over_seeds(accuracies: Sequence[float], cases: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, and its interval) of the accuracies that trainings with different seeds reach on the same `cases` cases.

    Two chances widen it, and their half-widths add in squares: that of the cases (Wilson's) and, of two seeds and more,
    that of the training (Student's t on the seeds' mean). Equal accuracies, as an untrained model has, leave Wilson's.
    """
    if not accuracies:
        raise ValueError("a mean over seeds needs at least one")
    mean = statistics.fmean(accuracies)
    low, high = wilson(round(mean * cases), cases, confidence)
    seeds = len(accuracies)
    spread = 0.0
    if seeds > 1 and (deviation := statistics.stdev(accuracies)) > 0:
        from scipy.stats import t

        spread = float(t.ppf((1 + confidence) / 2, seeds - 1)) * deviation / math.sqrt(seeds)
    return mean, max(0.0, mean - math.hypot(mean - low, spread)), min(1.0, mean + math.hypot(high - mean, spread))


def pass_at(k: int, correct: int, samples: int) -> float:
    """The chance that one of `k` replies is right, where `correct` of `samples` replies were (Chen et al., 2021).

    The unbiased estimate: drawing `k` of the replies without putting any back.
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(f"pass@{k} of {correct} right in {samples} replies is not possible")
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that A and B are equally often right, from the cases that only one of them got right.

    The binomial test of a fair coin (McNemar, 1947): cases on which both agree say nothing. No such cases: 1.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"counts cannot be negative: {only_a}, {only_b}")
    split = only_a + only_b
    tail, ways = 0, 1  # ways = split choose i, kept in whole numbers: exact at any size
    for i in range(min(only_a, only_b) + 1):
        tail += ways
        ways = ways * (split - i) // (i + 1)
    return min(1.0, 2 * tail / 2**split)


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> tuple[float, float, float]:
    """(mean of a - mean of b, and its percentile interval) for scores of the same cases in the same order.

    Cases are resampled whole, so what makes a case hard for both cancels out. The same seed gives the same interval.
    ValueError for lists that are empty or of different lengths.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(
            f"paired scores need the same cases on both sides, and at least one; got {len(a)} and {len(b)}"
        )
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"{resamples} resamples at a confidence of {confidence} are not possible")
    gains = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    at_once = max(1, _DRAWS_AT_ONCE // len(gains))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        means[start : start + rows] = gains[rng.integers(len(gains), size=(rows, len(gains)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(gains.mean()), float(low), float(high)


def mcnemar_power(cases: int, disagreement: float, gain: float, alpha: float = 0.05) -> float:
    """The chance that `mcnemar_exact` gives p < `alpha` for two models on `cases` cases.

    `disagreement` is the share of cases that only one of them has right, `gain` the difference of their accuracies:
    at most the disagreement. Exact: summed over how many cases they may disagree on, and how those may fall.
    """
    from scipy.stats import binom

    if cases < 1 or not 0 <= gain <= disagreement <= 1 or not disagreement > 0:
        raise ValueError(f"a gain of {gain} with a disagreement of {disagreement} on {cases} cases is not possible")
    counts = np.arange(cases + 1)
    chances = binom.pmf(counts, cases, disagreement)
    counts, chances = counts[chances > 1e-12], chances[chances > 1e-12]
    # The most of the weaker side's cases with 2 * P(X <= limit) < alpha under a fair coin; -1 where there is none.
    limit = binom.ppf(alpha / 2, counts, 0.5)
    limit = np.where(2 * binom.cdf(limit, counts, 0.5) < alpha, limit, limit - 1)
    better = (disagreement + gain) / (2 * disagreement)
    shown = binom.cdf(limit, counts, better) + binom.cdf(limit, counts, 1 - better)
    return float(np.minimum(np.where(limit >= 0, shown, 0.0), 1.0) @ chances)


def smallest_gain(cases: int, disagreement: float, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The smallest gain in accuracy that a paired test on `cases` cases shows with the chance `power`.

    To a thousandth, rounded up; None where even the largest possible gain, the disagreement itself, is not shown.
    """
    return _first(
        lambda step: mcnemar_power(cases, disagreement, min(step / 1000, disagreement), alpha) >= power,
        math.ceil(disagreement * 1000),
        1000,
    )


def cases_needed(gain: float, disagreement: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many cases show a `gain` in accuracy with the chance `power`; None where a million are too few."""
    most = 1_000_000
    # Power saws up and down by a case or two: the first bracket that holds is as good as an answer gets.
    z = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    guess = math.ceil(((z[0] * math.sqrt(disagreement) + z[1] * math.sqrt(disagreement - gain**2)) / gain) ** 2)
    for cases in (math.ceil(guess * share) for share in np.arange(0.9, 1.6, 0.01)):
        if cases > most:
            return None
        if mcnemar_power(cases, disagreement, gain, alpha) >= power:
            return cases
    return None


def _first(holds: Callable[[int], bool], last: int, scale: int) -> float | None:
    """The smallest of 1/scale, 2/scale, ... last/scale that holds, for what goes on holding; None where none does."""
    if not holds(last):
        return None
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high / scale
