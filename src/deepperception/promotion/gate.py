"""The gate: a candidate must be shown to be better than the champion, on the same cases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepperception.artifacts import Paired, paired
from deepperception.promotion.config import PromotionConfig
from deepperception.statistics import mcnemar_exact, paired_bootstrap


@dataclass(frozen=True)
class Decision:
    """What the gate says, and the numbers it says it by. Accuracies and gains are fractions, by the official parser."""

    promote: bool
    reason: str
    cases: int
    candidate_accuracy: float
    champion_accuracy: float
    only_candidate: int
    """Cases that the candidate alone got right."""
    only_champion: int
    gain: float
    gain_ci95: tuple[float, float]
    p: float
    """McNemar's exact test, two-sided."""


def decide(candidate: Path, champion: Path, config: PromotionConfig, *, seed: int) -> Decision:
    """Compare two evaluation folders of the test split; InputError where they cannot be compared."""
    pairs = paired(candidate, champion)
    only_candidate, only_champion = pairs.only_right
    gain, low, high = paired_bootstrap(pairs.right_a, pairs.right_b, seed, config.resamples)
    p = mcnemar_exact(only_candidate, only_champion)
    objection = _objection(pairs, gain, p, config)
    return Decision(
        promote=objection is None,
        reason=objection or f"the candidate is better by {_points(gain)} on {len(pairs)} cases (p = {p:.2g})",
        cases=len(pairs),
        candidate_accuracy=sum(pairs.right_a) / len(pairs),
        champion_accuracy=sum(pairs.right_b) / len(pairs),
        only_candidate=only_candidate,
        only_champion=only_champion,
        gain=gain,
        gain_ci95=(low, high),
        p=p,
    )


def _objection(pairs: Paired, gain: float, p: float, config: PromotionConfig) -> str | None:
    if len(pairs) < config.min_cases:
        return f"{len(pairs)} test cases decide nothing; the recipe asks for at least {config.min_cases}"
    if gain <= config.min_gain:
        return f"the candidate's gain is {_points(gain)}; it must exceed {_points(config.min_gain)}"
    if p > config.alpha:
        return f"a gain of {_points(gain)} on {len(pairs)} cases may be chance (p = {p:.2g}, limit {config.alpha:g})"
    # A gain over all cases can hide a model that learned the training categories and forgot the others.
    for name, seen in (("seen", True), ("unseen", False)):
        only_candidate, only_champion = pairs.where(seen=seen).only_right
        if only_champion > only_candidate and mcnemar_exact(only_candidate, only_champion) <= config.alpha:
            return f"the candidate is worse on {name} categories ({only_champion} cases lost, {only_candidate} won)"
    return None


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
