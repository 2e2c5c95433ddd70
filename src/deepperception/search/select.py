"""The choice among trials, and what a reader of it should know: all scores, and how far seeds alone spread them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deepperception.errors import InputError
from deepperception.search.trials import Trial

ARMS = ("sft", "cot_sft", "grpo")
"""The models of a trial, in the order of training."""


@dataclass(frozen=True)
class Score:
    """Of one model on validation."""

    accuracy: float
    ci95: tuple[float, float]
    cases: int
    model: str
    """Digest."""

    @classmethod
    def of(cls, metrics: Mapping[str, Any], model: str) -> Score:
        """Out of metrics.json, as the official parser reads the replies."""
        every = metrics["official"]["all"]
        low, high = every["accuracy_ci95"]
        return cls(every["accuracy"], (low, high), every["cases"], model)


@dataclass(frozen=True)
class Scored:
    """A trial with the scores of its models, by arm."""

    trial: Trial
    scores: Mapping[str, Score]

    @property
    def best_arm(self) -> str:
        """The arm with the highest accuracy; of equals the first."""
        return max(self.scores, key=lambda arm: self.scores[arm].accuracy)

    @property
    def accuracy(self) -> float:
        """Of the best arm: what the trial is chosen by."""
        return self.scores[self.best_arm].accuracy


def choose(trials: Sequence[Scored]) -> Scored:
    """The trial with the highest accuracy; of equals the first."""
    if not trials:
        raise InputError("there is no trial to choose from; give the search at least one seed.")
    return max(trials, key=lambda trial: trial.accuracy)


def table(trials: Sequence[Scored]) -> dict[str, Any]:
    """All that the choice was made of, as JSON: the trials, their settings over the seeds, and what was chosen."""
    chosen = choose(trials)
    settings = [_over_seeds(group) for group in _groups(trials)]
    (own,) = [setting["mean"] for setting in settings if setting["label"] == chosen.trial.label]
    best = max(settings, key=lambda setting: float(setting["mean"]))
    return {
        "chosen": chosen.trial.name,
        "arm": chosen.best_arm,
        "accuracy": chosen.accuracy,
        "trials": [_row(trial) for trial in trials],
        "settings": settings,
        "ahead_by_mean": best["label"] if best["mean"] > own else None,
    }


def siblings(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The trials of a table that have the chosen one's settings, itself among them, in the order of the seeds."""
    chosen = next(trial for trial in content["trials"] if trial["name"] == content["chosen"])
    return [trial for trial in content["trials"] if trial["settings"] == chosen["settings"]]


def _row(scored: Scored) -> dict[str, Any]:
    trial = scored.trial
    told = {"name": trial.name, "label": trial.label, "seed": trial.seed, "settings": dict(trial.settings)}
    scores = {arm: asdict(score) for arm, score in scored.scores.items()}
    return {**told, "best_arm": scored.best_arm, "accuracy": scored.accuracy, "validation": scores}


def _groups(trials: Sequence[Scored]) -> list[list[Scored]]:
    """The trials that differ in nothing but their seed."""
    groups: dict[str, list[Scored]] = {}
    for scored in trials:
        groups.setdefault(json.dumps(scored.trial.settings, sort_keys=True), []).append(scored)
    return list(groups.values())


def _over_seeds(group: Sequence[Scored]) -> dict[str, Any]:
    arms = {arm: _spread([scored.scores[arm].accuracy for scored in group]) for arm in group[0].scores}
    seeds = [scored.trial.seed for scored in group]
    return {"label": group[0].trial.label, "seeds": seeds, **_spread([each.accuracy for each in group]), "arms": arms}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Of one value nothing is known about the spread."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": deviation, "low": min(values), "high": max(values)}
