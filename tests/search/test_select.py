"""The choice among trials, on validation, and the page that tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from deepperception.errors import InputError
from deepperception.search.page import replication_page, selection_page
from deepperception.search.replicate import replicated
from deepperception.search.select import Score, Scored, choose, siblings, table
from deepperception.search.trials import Trial


def scored(name: str, seed: int, rate: float, **accuracies: float) -> Scored:
    scores = {arm: Score(value, (value - 0.1, value + 0.1), 200, f"sha256:{name}.{arm}")
              for arm, value in accuracies.items()}  # fmt: skip
    return Scored(Trial(name, seed, {"grpo.learning_rate": rate}), scores)


TRIALS = [
    scored("a0", 0, 1e-4, sft=0.3, cot_sft=0.70, grpo=0.60),
    scored("a1", 1, 1e-4, sft=0.2, cot_sft=0.50, grpo=0.40),
    scored("b0", 0, 2e-4, sft=0.3, cot_sft=0.65, grpo=0.66),
    scored("b1", 1, 2e-4, sft=0.2, cot_sft=0.64, grpo=0.70),
]


def test_the_trial_with_the_best_model_is_chosen_and_of_equals_the_first() -> None:
    chosen = choose(TRIALS)
    assert (chosen.trial.name, chosen.best_arm, chosen.accuracy) == ("a0", "cot_sft", 0.70)
    assert choose(TRIALS[::-1]).trial.name == "b1"


def test_without_trials_there_is_nothing_to_choose() -> None:
    with pytest.raises(InputError, match="no trial to choose from"):
        choose([])


def test_the_table_tells_the_spread_over_seeds_and_who_leads_by_the_mean() -> None:
    content = table(TRIALS)
    first, second = content["settings"]
    assert (first["seeds"], first["mean"], first["low"], first["high"]) == ([0, 1], pytest.approx(0.6), 0.5, 0.7)
    assert first["sd"] == pytest.approx(0.1414, abs=1e-4)
    assert second["arms"]["cot_sft"]["mean"] == pytest.approx(0.645)
    assert content["ahead_by_mean"] == "grpo.learning_rate 0.0002"
    assert table(TRIALS[2:])["ahead_by_mean"] is None
    assert [trial["name"] for trial in siblings(content)] == ["a0", "a1"]


def test_one_seed_has_no_spread() -> None:
    assert table(TRIALS[:1])["settings"][0]["sd"] is None


def test_the_page_shows_every_trial_and_escapes_what_a_user_wrote() -> None:
    odd = Scored(Trial("odd", 0, {"sft.note": "<script>"}), TRIALS[0].scores)
    page = selection_page("small", table([*TRIALS, odd]))
    assert page.count("<circle") == 5
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "grpo.learning_rate 0.0002</em> is ahead" in selection_page("small", table(TRIALS))
    assert page == selection_page("small", table([*TRIALS, odd]))


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
def test_a_page_of_equal_scores_has_an_axis(accuracy: float) -> None:
    assert "<circle" in selection_page("small", table([scored("a", 0, 1.0, sft=accuracy)]))


def metrics(seen: int, unseen: int) -> dict[str, Any]:
    def score(right: int, cases: int) -> dict[str, Any]:
        return {"accuracy": right / cases if cases else None, "accuracy_ci95": [0.0, 1.0], "cases": cases}

    return {"official": {"seen": score(seen, 50), "unseen": score(unseen, 0), "all": score(seen, 50)}}


def test_over_the_seeds_it_is_the_mean_with_its_spread() -> None:
    told = replicated({"base": [metrics(10, 0)], "grpo": [metrics(20, 0), metrics(30, 0)]})
    grpo = told["grpo"]["all"]
    assert (grpo["accuracy"], grpo["each"], grpo["cases"]) == (0.5, [0.4, 0.6], 50)
    assert grpo["sd"] == pytest.approx(0.1414, abs=1e-4)
    assert told["base"]["all"]["sd"] is None
    assert told["grpo"]["unseen"] == {"accuracy": None, "ci95": [0.0, 1.0], "cases": 0, "sd": None, "each": []}
    content = {"label": "as in the recipe", "seeds": [0, 1], "stages": told}
    page = replication_page("small", content)
    assert "50.0 ± 14.1" in page
    assert "40.0 · 60.0" in page
