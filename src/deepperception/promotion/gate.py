"""The gate: a candidate must be shown to be better than the champion, on the same cases, and fit to serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepperception.artifacts import paired
from deepperception.errors import InputError
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.criteria import Criterion, paired_criteria, points
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
    criteria: Sequence[Criterion] = ()
    override: str | None = None
    """Why it is promoted although a criterion fails: somebody's word, kept with everything else."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Decision:
        criteria = tuple(Criterion(**criterion) for criterion in kept["criteria"])
        return cls(**{**kept, "gain_ci95": tuple(kept["gain_ci95"]), "criteria": criteria})


def decide(
    candidate: Path,
    champion: Path,
    config: PromotionConfig,
    *,
    seed: int,
    more: Iterable[Criterion] = (),
    override: str | None = None,
) -> Decision:
    """Compare two evaluation folders of the test split, and add the criteria `more`; all that fail are told at once.

    InputError where the two cannot be compared, or an override gives no reason.
    """
    if override is not None and not override.strip():
        raise InputError("--override: the reason is empty; say why the gate is overruled, it is kept.")
    pairs = paired(candidate, champion)
    only_candidate, only_champion = pairs.only_right
    gain, low, high = paired_bootstrap(pairs.right_a, pairs.right_b, seed, config.resamples)
    p = mcnemar_exact(only_candidate, only_champion)
    criteria = (*paired_criteria(pairs, gain, (low, high), config), *more)
    failing = "; ".join(criterion.sentence for criterion in criteria if criterion.verdict == "fail")
    better = f"the candidate is better by {points(gain)} on {len(pairs)} cases (p = {p:.2g})"
    overruled = override if failing else None
    return Decision(
        promote=not failing or overruled is not None,
        reason=f"overruled ({overruled}): {failing}" if overruled else failing or better,
        cases=len(pairs),
        candidate_accuracy=sum(pairs.right_a) / len(pairs),
        champion_accuracy=sum(pairs.right_b) / len(pairs),
        only_candidate=only_candidate,
        only_champion=only_champion,
        gain=gain,
        gain_ci95=(low, high),
        p=p,
        criteria=criteria,
        override=overruled,
    )


def table(criteria: Iterable[Criterion]) -> str:
    """The criteria in lines, for a terminal."""
    return "\n".join(f"  {criterion.verdict:<9} {criterion.name:<13} {criterion.sentence}" for criterion in criteria)
