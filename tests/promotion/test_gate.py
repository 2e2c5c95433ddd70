"""The gate's verdicts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from deepperception.errors import InputError
from deepperception.promotion import Decision, decide
from deepperception.promotion.config import PromotionConfig

if TYPE_CHECKING:
    from tests.promotion.conftest import Evaluate

CASES = 200
HALF = CASES // 2


@pytest.mark.parametrize(
    ("candidate", "champion", "settings", "promote", "reason"),
    [
        (range(100), range(60), {}, True, r"better by \+20.0 points on 200 cases"),
        (range(60), range(60), {}, False, r"gain is \+0.0 points; it must exceed \+0.0"),
        (range(40), range(60), {}, False, r"gain is -10.0 points"),
        (range(64), range(60), {}, False, r"may be chance \(p = 0.12, limit 0.05\)"),
        (range(66), range(60), {}, True, r"p = 0.031"),
        (range(66), range(60), {"alpha": 0.01}, False, r"may be chance \(p = 0.031, limit 0.01\)"),
        (range(100), range(60), {"min_gain": 0.2}, False, r"must exceed \+20.0 points"),
        (range(100), range(60), {"min_gain": 0.19}, True, "better"),
        (range(100), range(60), {"min_cases": 201}, False, "200 test cases decide nothing; .* at least 201"),
        # 100 of 100 seen and none of the unseen, against 40 and 20: the gain hides what was forgotten.
        (
            range(100),
            [*range(40), *range(HALF, HALF + 20)],
            {},
            False,
            r"worse on unseen categories \(20 cases lost, 0 won",
        ),
        (
            [*range(20), *range(HALF, HALF + 80)],
            range(30),
            {},
            False,
            r"worse on seen categories \(10 cases lost, 0 won",
        ),
        ([*range(20), *range(HALF, HALF + 80)], range(25), {}, True, "better"),  # five lost of the seen may be chance
    ],
)
def test_verdicts(
    evaluate: Evaluate, candidate: Any, champion: Any, settings: dict[str, Any], promote: bool, reason: str
) -> None:
    decision = decide(
        evaluate("candidate/test", candidate), evaluate("champion/test", champion), PromotionConfig(**settings), seed=0
    )
    assert decision.promote is promote
    assert pytest.approx((len(candidate) - len(champion)) / CASES) == decision.gain
    assert decision.gain_ci95[0] <= decision.gain <= decision.gain_ci95[1]
    assert re.search(reason, decision.reason), decision.reason


def test_all_that_fails_is_told_at_once_with_its_numbers(evaluate: Evaluate) -> None:
    folders = evaluate("candidate/test", range(40)), evaluate("champion/test", range(60))
    decision = decide(*folders, PromotionConfig(min_cases=201), seed=0)
    failing = [one.name for one in decision.criteria if one.verdict == "fail"]
    assert failing == ["cases", "gain", "seen", "categories"]
    assert all(one.sentence in decision.reason for one in decision.criteria if one.verdict == "fail")
    rows = next(one.measured for one in decision.criteria if one.name == "categories")
    assert rows["bird"] == {"cases": 100, "drop": 0.2, "p": pytest.approx(2 * 0.5**20)}


@pytest.mark.parametrize(
    ("lost", "bound", "verdict", "told"),
    [
        (20, 0.1, "fail", r"worse on bird by 20.0 points \(p = 1.9e-06\); at most 10.0 points"),
        (20, 0.2, "pass", "none of 2 categories is shown to be worse by more than 20.0 points"),
        (5, 0.01, "pass", "none of 2"),  # 5 of 100 may be chance (p = 0.06)
    ],
)
def test_no_category_is_left_behind(evaluate: Evaluate, lost: int, bound: float, verdict: str, told: str) -> None:
    candidate = evaluate("candidate/test", [*range(60 - lost), *range(HALF, CASES)])
    champion = evaluate("champion/test", range(60))
    decision = decide(candidate, champion, PromotionConfig(max_category_drop=bound), seed=0)
    (found,) = (one for one in decision.criteria if one.name == "categories")
    assert found.verdict == verdict
    assert re.search(told, found.sentence), found.sentence


def test_categories_that_can_show_nothing_are_named(evaluate: Evaluate) -> None:
    folders = evaluate("candidate/test", [], cases=8), evaluate("champion/test", range(8), cases=8)
    (found,) = (one for one in decide(*folders, PromotionConfig(), seed=0).criteria if one.name == "categories")
    assert found.verdict == "pass"
    assert "2 of 2 have too few cases to show anything (bird, dog)" in found.sentence


def test_a_decision_survives_its_file(evaluate: Evaluate) -> None:
    folders = evaluate("candidate/test", range(90)), evaluate("champion/test", range(60))
    decision = decide(*folders, PromotionConfig(), seed=1)
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


def test_the_same_seed_gives_the_same_interval(evaluate: Evaluate) -> None:
    folders = evaluate("candidate/test", range(90)), evaluate("champion/test", range(60))
    assert decide(*folders, PromotionConfig(), seed=1) == decide(*folders, PromotionConfig(), seed=1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"engine": "vllm"}, "engine"),
        ({"version": "5.24.0"}, "version"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"decoding": {"temperature": 0.5}}, "decoding"),
    ],
)
def test_scores_of_another_backend_decide_nothing(evaluate: Evaluate, change: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"cannot be compared: their backend differs in {named}"):
        decide(evaluate("a/test", range(9)), evaluate("b/test", range(5), **change), PromotionConfig(), seed=0)
