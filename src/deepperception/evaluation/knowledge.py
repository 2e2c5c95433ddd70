"""Known and unknown entities: how well a model names them, and how well one finds them (paper, sections 2.7 and 4f)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepperception.artifacts.choice_cases import ChoiceCase
from deepperception.artifacts.evaluations import Case
from deepperception.evaluation.breakdown import share_of, split_scores

LEVELS: tuple[tuple[str, float], ...] = (
    ("completely correct", 0.70),
    ("mostly correct", 0.45),
    ("partially correct", 0.30),
    ("mostly incorrect", 0.10),
    ("completely incorrect", 0.0),
)
"""Names and the least share of right answers (paper, section 2.7)."""
HIGH = tuple(name for name, _ in LEVELS[:3])
"""The levels that the paper calls high knowledge (section 4f)."""


def level_of(share: float) -> str:
    """The level of an entity that is named rightly in this share of its pictures."""
    return next(name for name, least in LEVELS if share >= least)


def knowledge(probed: Sequence[ChoiceCase], grounded: Iterable[Case]) -> dict[str, Any]:
    """Entities by level, and the accuracy of finding them.

    {"pictures", "right": share, "no_letter": share, "entities": {name: {"pictures", "right", "level"}},
     "levels": {name: {"entities", "share", "grounding": {"all": score, ...}}}, "high": ..., "low": ...}
    A target that was not probed belongs to no level, and is counted in `not_probed`.
    """
    by_entity: dict[str, list[bool]] = {}
    for case in probed:
        by_entity.setdefault(case.entity, []).append(case.tolerantly_correct)
    level = {name: level_of(sum(right) / len(right)) for name, right in by_entity.items()}
    cases = list(grounded)
    return {
        "pictures": len(probed),
        "right": share_of([case.tolerantly_correct for case in probed]),
        "no_letter": share_of([case.letter is None for case in probed]),
        "entities": {
            name: {"pictures": len(right), "right": sum(right), "level": level[name]}
            for name, right in sorted(by_entity.items())
        },
        "levels": {name: _at_level([name], level, cases) for name, _ in LEVELS},
        "high": _at_level(HIGH, level, cases),
        "low": _at_level([name for name, _ in LEVELS if name not in HIGH], level, cases),
        "not_probed": sum(case.entity not in level for case in cases),
    }


def recognition_against_grounding(recognised: Sequence[ChoiceCase], grounded: Mapping[str, Case]) -> dict[str, Any]:
    """The paper's table 8 (v3): each case named rightly or not, and boxed rightly or not.

    {"both", "recognised_only", "grounded_only", "neither"}: shares of the cases; "recognition" and "grounding": theirs
    alone; "grounding_where_recognised" and "..._where_not".
    """
    pairs = [
        (case.tolerantly_correct, grounded[case.question_id].correct)
        for case in recognised
        if case.question_id in grounded
    ]
    return {
        "cases": len(pairs),
        "no_letter": share_of([case.letter is None for case in recognised]),
        "both": share_of([named and boxed for named, boxed in pairs]),
        "recognised_only": share_of([named and not boxed for named, boxed in pairs]),
        "grounded_only": share_of([boxed and not named for named, boxed in pairs]),
        "neither": share_of([not named and not boxed for named, boxed in pairs]),
        "recognition": share_of([named for named, _ in pairs]),
        "grounding": share_of([boxed for _, boxed in pairs]),
        "grounding_where_recognised": share_of([boxed for named, boxed in pairs if named]),
        "grounding_where_not": share_of([boxed for named, boxed in pairs if not named]),
    }


def _at_level(names: Sequence[str], level: Mapping[str, str], cases: Sequence[Case]) -> dict[str, Any]:
    entities = {entity for entity, of in level.items() if of in names}
    return {
        "entities": len(entities),
        "share": len(entities) / len(level) if level else None,
        "grounding": split_scores(case for case in cases if case.entity in entities),
    }
