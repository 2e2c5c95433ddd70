"""What the gate asks for, one by one: each with its limit, its number, its verdict and a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepperception.artifacts import Paired, Ref, Store, read_metrics, verify
from deepperception.errors import InputError
from deepperception.promotion.config import PromotionConfig
from deepperception.statistics import mcnemar_exact

CARD = "card.json"

Verdict = Literal["pass", "fail", "not asked", "later"]


@dataclass(frozen=True)
class Criterion:
    """One thing that a candidate must show."""

    name: str
    limit: str
    """What is allowed; empty where the recipe asks for nothing."""
    measured: Any
    """The numbers: one, or several by name. None where nothing was measured."""
    verdict: Verdict
    """"not asked": told, and nothing depends on it. "later": measured on the cluster, before users are sent there."""
    sentence: str
    """Without a full stop: several may be joined."""


def paired_criteria(pairs: Paired, gain: float, ci95: tuple[float, float], config: PromotionConfig) -> list[Criterion]:
    """By the cases of two evaluations: enough of them, a gain, beyond chance, and nobody left behind."""
    only_candidate, only_champion = pairs.only_right
    p = mcnemar_exact(only_candidate, only_champion)
    return [
        _enough(len(pairs), config),
        _gain(gain, ci95, config),
        _significant(gain, p, len(pairs), config),
        *(_not_worse(name, pairs.where(seen=seen), config) for name, seen in (("seen", True), ("unseen", False))),
        _categories(pairs, config),
    ]


def _enough(cases: int, config: PromotionConfig) -> Criterion:
    sentence = f"{cases} test cases"
    if cases < config.min_cases:
        sentence = f"{cases} test cases decide nothing; the recipe asks for at least {config.min_cases}"
    return Criterion("cases", f"at least {config.min_cases}", cases, _verdict(cases >= config.min_cases), sentence)


def _gain(gain: float, ci95: tuple[float, float], config: PromotionConfig) -> Criterion:
    sentence = f"the candidate's gain is {points(gain)}; it must exceed {points(config.min_gain)}"
    measured = {"gain": gain, "ci95": list(ci95)}
    return Criterion(
        "gain", f"more than {points(config.min_gain)}", measured, _verdict(gain > config.min_gain), sentence
    )


def _significant(gain: float, p: float, cases: int, config: PromotionConfig) -> Criterion:
    holds = p <= config.alpha
    sentence = f"exact McNemar p = {p:.2g}, limit {config.alpha:g}"
    if not holds:
        sentence = f"a gain of {points(gain)} on {cases} cases may be chance (p = {p:.2g}, limit {config.alpha:g})"
    return Criterion("significance", f"p at most {config.alpha:g}", p, _verdict(holds), sentence)


def _not_worse(name: str, pairs: Paired, config: PromotionConfig) -> Criterion:
    """A gain over all cases can hide a model that learned the training categories and forgot the others."""
    won, lost = pairs.only_right
    p = mcnemar_exact(won, lost)
    worse = lost > won and p <= config.alpha
    sentence = f"{name} categories: {won} cases won, {lost} lost (p = {p:.2g})"
    if worse:
        sentence = f"the candidate is worse on {name} categories ({lost} cases lost, {won} won)"
    measured = {"cases": len(pairs), "won": won, "lost": lost, "p": p}
    return Criterion(name, f"not shown to be worse at p {config.alpha:g}", measured, _verdict(not worse), sentence)


def _categories(pairs: Paired, config: PromotionConfig) -> Criterion:
    """No category may be shown to be worse by more than the bound.

    Shown: the drop in its cases exceeds the bound, and McNemar's test of these cases alone calls it more than chance.
    That is not corrected for the number of categories, which errs towards refusing; and a category with too few cases
    to show anything can hide a drop, so how many are so small is told.
    """
    rows: dict[str, dict[str, float]] = {}
    for category in sorted({case.category for case in pairs.a}):
        kept = [(a, b) for a, b in zip(pairs.a, pairs.b, strict=True) if a.category == category]
        part = Paired([a for a, _ in kept], [b for _, b in kept])
        won, lost = part.only_right
        drop = (lost - won) / len(part)
        rows[category] = {"cases": len(part), "drop": drop, "p": mcnemar_exact(won, lost)}
    bound = config.max_category_drop
    worse = {name: row for name, row in rows.items() if row["drop"] > bound and row["p"] <= config.alpha}
    # If every case of it were lost, would the test notice?
    mute = [name for name, row in rows.items() if mcnemar_exact(0, int(row["cases"])) > config.alpha]
    sentence = f"none of {len(rows)} categories is shown to be worse by more than {points(bound)[1:]}"
    if worse:
        each = ", ".join(f"{name} by {points(row['drop'])[1:]} (p = {row['p']:.2g})" for name, row in worse.items())
        sentence = f"the candidate is worse on {each}; at most {points(bound)[1:]} is allowed in a category"
    if mute:
        sentence += f"; {len(mute)} of {len(rows)} have too few cases to show anything ({', '.join(mute)})"
    limit = f"none worse by more than {points(bound)[1:]} at p {config.alpha:g}"
    return Criterion("categories", limit, rows, _verdict(not worse), sentence)


def leakage(dataset: Path | None, config: PromotionConfig) -> Criterion:
    """What the guard said that compared the training pictures with the benchmark's: in the dataset's card."""
    limit = "a guard ran and found nothing" if config.require_leakage_check else "nothing found, where a guard ran"
    told = _leakage_in(dataset) if dataset else None
    if told is None:
        verdict: Verdict = "fail" if config.require_leakage_check else "not asked"
        where = f"its card in {dataset.name} tells of none" if dataset else "the training data is not at hand"
        return Criterion("leakage", limit, None, verdict, f"no leakage guard was run, as far as is known ({where})")
    many = len(told.get("pairs", []))
    if told.get("verdict") == "clean":
        return Criterion("leakage", limit, told, "pass", "the leakage guard found no training photo in the benchmark")
    sentence = f"the leakage guard found training photos in the benchmark ({many} pairs)"
    if told.get("verdict") == "overridden":
        sentence += f", allowed because: {told.get('reason')}"
        return Criterion("leakage", limit, told, "fail" if config.require_leakage_check else "not asked", sentence)
    return Criterion("leakage", limit, told, "fail", sentence)


def _leakage_in(dataset: Path) -> dict[str, Any] | None:
    try:
        told = json.loads((dataset / CARD).read_text(encoding="utf-8")).get("leakage")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{dataset / CARD}: cannot be read ({error}); make the dataset again.") from None
    return told if isinstance(told, dict) and told.get("checked") else None


def evidence(candidate: Path, champion: Path, models: dict[str, Ref], store: Store | None) -> Criterion:
    """Whether all that the decision rests on is there, is unchanged, and speaks of the two models.

    `models`: the references of "candidate" and "champion". Without a store (a trial) their bytes are not asked for.
    """
    found: list[str] = []
    digests: dict[str, str] = {}

    def looked_at(what: str, look: Callable[[], None]) -> None:
        try:
            look()
        except InputError as error:  # a store that is away is no fault of the evidence, and is raised
            found.append(f"{what}: {str(error).rstrip('.')}")

    hashes: dict[str, str] = {}
    for side, folder in (("candidate", candidate), ("champion", champion)):

        def read(side: str = side, folder: Path = folder) -> None:
            manifest = verify(folder)
            digests[f"{side}.evaluation"], digests[side] = manifest.digest, models[side].digest
            hashes[side] = manifest.recipe_hash
            if manifest.inputs.get("model") != models[side].digest:
                found.append(f"the {side}'s evaluation is of {manifest.inputs.get('model') or 'no checkpoint'}")
            benchmark = read_metrics(folder)["benchmark"].get("digest")
            if manifest.inputs.get("benchmark") != benchmark:
                found.append(f"the {side}'s evaluation names two benchmarks")
            if store is not None:
                store.get(models[side])

        looked_at(f"the {side}", read)
    if len(set(hashes.values())) > 1 and _prompt(candidate) == _prompt(champion):
        found.append("the evaluations were made by different recipes")
    measured = {"digests": digests, "recipe_hashes": hashes, "faults": found}
    sentence = "the evidence is not complete: " + "; ".join(found) if found else "the evidence is complete"
    return Criterion("evidence", "all of it there and unchanged", measured, _verdict(not found), sentence)


def _prompt(evaluation: Path) -> Any:
    return read_metrics(evaluation)["backend"].get("prompt")


def points(share: float) -> str:
    """A difference of shares: +2.5 points."""
    return f"{100 * share:+.1f} points"


def _verdict(holds: bool) -> Verdict:
    return "pass" if holds else "fail"
