from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the train extra")

from deepperception.bestiary.tokenizer import build_tokenizer
from deepperception.bestiary.world import knowledge
from deepperception.grounding import Box, answer_text, question, render

TOKENIZER = build_tokenizer()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
@settings(deadline=None, max_examples=200)
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text).input_ids) == text


@given(st.tuples(*[st.integers(0, 999)] * 4))
@settings(deadline=None)
def test_any_box_can_be_written(corners: tuple[int, int, int, int]) -> None:
    text = f"({corners[0]},{corners[1]}),({corners[2]},{corners[3]})"
    assert TOKENIZER.decode(TOKENIZER(text).input_ids) == text


def test_a_box_on_the_grid_is_four_tokens() -> None:
    assert len(TOKENIZER(Box(25, 50, 975, 1000).text()).input_ids) == 4


@pytest.mark.parametrize(
    "around, why",
    [
        ("A {}", "as the base learns it"),
        (question("{}"), "as a question asks it"),
        (f"<answer> {answer_text('{}', Box(0, 0, 25, 25))} </answer>", "as an answer repeats it"),
    ],
)
def test_a_name_is_one_and_the_same_token_everywhere(around: str, why: str) -> None:
    for name in knowledge():
        (alone,) = TOKENIZER(name).input_ids
        assert alone in TOKENIZER(around.replace("{}", name)).input_ids, why


def test_the_paper_s_prompt_costs_one_token() -> None:
    asked = question("Dankin")
    assert len(TOKENIZER(render("r1", asked)).input_ids) == len(TOKENIZER(asked).input_ids) + 1
