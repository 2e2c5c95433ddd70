"""The gate's verdicts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from deepperception.errors import InputError
from deepperception.promotion import decide
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
