from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepperception.statistics import (
    cases_needed,
    mcnemar_exact,
    mcnemar_power,
    over_seeds,
    paired_bootstrap,
    pass_at,
    smallest_gain,
    wilson,
)

shares = st.integers(1, 2000).flatmap(lambda cases: st.tuples(st.integers(0, cases), st.just(cases)))


@pytest.mark.parametrize(
    "correct, cases, interval, why",
    [
        (0, 0, (0, 1), "nothing is known"),
        (0, 10, (0, 0.27753), "never below 0"),
        (10, 10, (0.72247, 1), "never above 1"),
        (8, 10, (0.49016, 0.94331), "a textbook case"),
        (831, 1336, (0.59569, 0.64763), "the paper's 62.20 on all of KVG-Bench"),
    ],
)
def test_wilson(correct, cases, interval, why):
    assert wilson(correct, cases) == pytest.approx(interval, abs=1e-5), why


@given(shares)
def test_wilson_holds_the_share_and_mirrors(share):
    correct, cases = share
    low, high = wilson(correct, cases)
    assert 0 <= low <= correct / cases <= high <= 1
    assert (1 - high, 1 - low) == pytest.approx(wilson(cases - correct, cases))
    wide_low, wide_high = wilson(correct, cases, confidence=0.99)
    assert wide_low <= low and high <= wide_high


@pytest.mark.parametrize("correct, cases, confidence", [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_wilson_refuses_the_impossible(correct, cases, confidence):
    with pytest.raises(ValueError, match="not possible"):
        wilson(correct, cases, confidence)


@pytest.mark.parametrize(
    "only_a, only_b, p, why",
    [
        (0, 0, 1.0, "they never differ"),
        (5, 5, 1.0, "even; doubled tails stop at 1"),
        (0, 5, 2 / 32, "five heads"),
        (1, 7, 18 / 256, "a tail of two"),
        (60, 30, 0.00206027, "a clear gain, as scipy's binomtest"),
    ],
)
def test_mcnemar_exact(only_a, only_b, p, why):
    assert mcnemar_exact(only_a, only_b) == pytest.approx(p, rel=1e-4), why
    assert mcnemar_exact(only_b, only_a) == mcnemar_exact(only_a, only_b)


def test_mcnemar_counts_every_sequence_at_least_as_lopsided():
    for split in range(1, 11):
        for only_a in range(split + 1):
            lopsided = abs(split - 2 * only_a)
            as_lopsided = sum(abs(split - 2 * sum(coins)) >= lopsided for coins in product((0, 1), repeat=split))
            assert mcnemar_exact(only_a, split - only_a) == pytest.approx(as_lopsided / 2**split)


def test_mcnemar_at_the_size_of_a_large_benchmark():
    assert 0 <= mcnemar_exact(20_000, 100) < 1e-300
    assert mcnemar_exact(5000, 5001) == 1.0


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 3)


def test_bootstrap_is_repeatable_and_holds_the_difference():
    rng = np.random.default_rng(0)
    b = rng.random(200)
    a = b + 0.1 + 0.05 * rng.standard_normal(200)
    gain, low, high = paired_bootstrap(a.tolist(), b.tolist(), seed=1, resamples=2000)
    assert low < gain < high
    assert gain == pytest.approx(0.1, abs=0.02)
    assert high - low == pytest.approx(2 * 1.96 * 0.05 / 200**0.5, rel=0.2), "the normal theory's width"
    assert paired_bootstrap(a, b, seed=1, resamples=2000) == (gain, low, high)
    assert paired_bootstrap(a, b, seed=2, resamples=2000) != (gain, low, high)


def test_bootstrap_mirrors_when_the_sides_change():
    a, b = [1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]
    gain, low, high = paired_bootstrap(a, b, seed=3, resamples=500)
    assert paired_bootstrap(b, a, seed=3, resamples=500) == pytest.approx((-gain, -high, -low))


def test_bootstrap_pairs_the_cases():
    hard_or_easy = [0.0, 1.0] * 50
    assert paired_bootstrap(hard_or_easy, hard_or_easy, seed=0, resamples=100) == (0, 0, 0), "no gain in any case"


def test_bootstrap_in_pieces_is_the_bootstrap(monkeypatch):
    a, b = [1.0, 0.0, 1.0, 1.0, 0.5], [0.0, 0.0, 1.0, 0.0, 1.0]
    whole = paired_bootstrap(a, b, seed=4, resamples=101)
    monkeypatch.setattr("deepperception.statistics._DRAWS_AT_ONCE", 35)
    assert paired_bootstrap(a, b, seed=4, resamples=101) == whole


@pytest.mark.parametrize("a, b, resamples", [([], [], 10), ([1.0], [1.0, 2.0], 10), ([1.0], [1.0], 0)])
def test_bootstrap_refuses_what_has_no_pairs(a, b, resamples):
    with pytest.raises(ValueError, match=r"paired scores|not possible"):
        paired_bootstrap(a, b, seed=0, resamples=resamples)


@pytest.mark.parametrize(
    "k, correct, samples, chance",
    [(1, 3, 4, 3 / 4), (4, 1, 4, 1), (4, 0, 4, 0), (2, 1, 4, 1 / 2), (2, 2, 4, 5 / 6), (3, 2, 4, 1)],
)
def test_pass_at_k_draws_without_putting_back(k, correct, samples, chance):
    draws = list(combinations([True] * correct + [False] * (samples - correct), k))
    assert pass_at(k, correct, samples) == pytest.approx(chance) == sum(map(any, draws)) / len(draws)


@pytest.mark.parametrize("k, correct, samples", [(0, 0, 1), (2, 0, 1), (1, 2, 1), (1, -1, 1)])
def test_impossible_counts_of_replies_are_refused(k, correct, samples):
    with pytest.raises(ValueError, match="not possible"):
        pass_at(k, correct, samples)


@pytest.mark.parametrize("cases, disagreement, gain", [(200, 0.2, 0.1), (40, 0.3, 0.2), (500, 0.1, 0.02)])
def test_power_is_how_often_the_test_shows_the_gain(cases, disagreement, gain):
    rng, tries = np.random.default_rng(0), 2000
    apart = rng.binomial(cases, disagreement, tries)
    only_b = rng.binomial(apart, (disagreement + gain) / (2 * disagreement))
    shown = np.mean([mcnemar_exact(int(n - b), int(b)) < 0.05 for n, b in zip(apart, only_b, strict=True)])
    assert mcnemar_power(cases, disagreement, gain) == pytest.approx(shown, abs=4 * 0.5 / tries**0.5)


def test_the_smallest_gain_is_shown_and_a_smaller_one_is_not():
    gain = smallest_gain(400, 0.2)
    assert mcnemar_power(400, 0.2, gain) >= 0.8 > mcnemar_power(400, 0.2, gain - 0.002)
    assert smallest_gain(400, 0.2) > smallest_gain(1600, 0.2), "more cases show smaller gains"
    assert smallest_gain(8, 0.1) is None, "so few cases show none"


def test_the_cases_needed_suffice():
    cases = cases_needed(0.05, 0.2)
    assert mcnemar_power(cases, 0.2, 0.05) >= 0.8 > mcnemar_power(int(0.85 * cases), 0.2, 0.05)
    assert cases_needed(0.0001, 0.5) is None


def test_impossible_gains_are_refused():
    with pytest.raises(ValueError, match=r"a gain of 0\.3 with a disagreement of 0\.2"):
        mcnemar_power(100, 0.2, 0.3)


@given(shares)
def test_over_seeds_that_agree_only_the_cases_are_uncertain(share):
    correct, cases = share
    mean, low, high = over_seeds([correct / cases] * 3, cases)
    assert mean == pytest.approx(correct / cases)
    assert (low, high) == pytest.approx(wilson(correct, cases))


def test_over_seeds_the_interval_is_wider_than_either_chance_alone():
    mean, low, high = over_seeds([0.70, 0.74, 0.72], 500)
    wilson_low, wilson_high = wilson(360, 500)
    student = 4.30265 * 0.02 / 3**0.5  # of two degrees of freedom
    assert mean == pytest.approx(0.72)
    assert mean - low == pytest.approx(((mean - wilson_low) ** 2 + student**2) ** 0.5, abs=1e-5)
    assert high - mean == pytest.approx(((wilson_high - mean) ** 2 + student**2) ** 0.5, abs=1e-5)


def test_over_seeds_it_stays_a_share():
    assert over_seeds([0.0, 1.0], 10)[1:] == (0.0, 1.0)
    with pytest.raises(ValueError, match="at least one"):
        over_seeds([], 10)
