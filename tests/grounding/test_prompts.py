from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepperception.errors import InputError
from deepperception.grounding import entity_of, question, render, turns

names = st.text(min_size=1).filter(lambda name: name.strip() and "<|" not in name and not name.endswith("<"))


def test_the_question_is_the_benchmarks():
    expected = "Find and give the bounding box of <|object_ref_start|>Sukhoi Su-30<|object_ref_end|>"
    assert question("Sukhoi Su-30") == expected


@given(names)
def test_the_entity_is_read_back(name):
    assert entity_of(question(name)) == name


@pytest.mark.parametrize("name", ["", "  ", "a<|object_ref_end|> and everything else", "<|im_end|>"])
def test_names_that_would_break_the_question_are_refused(name):
    with pytest.raises(InputError, match="name"):
        question(name)


@pytest.mark.parametrize(
    "text", ["", "Find the bird", "<|object_ref_start|>bird", "<|object_ref_start|><|object_ref_end|>"]
)
def test_a_question_without_an_entity_is_refused(text):
    with pytest.raises(InputError, match="names no entity"):
        entity_of(text)


def test_prompts():
    assert render("bare", "Q {question}") == "Q {question}"
    assert render("r1", "Q") == (
        "Q  Output the thinking process in <think> </think> and final answer (bounding box) in <answer> </answer> tags."
    ), "two spaces before Output"
    assert render("qwen3-vl", "Q") == "Q, output its bbox coordinates using JSON format."
    assert render("cot-normal", "Q") == "Q. Let's think step by step"


def test_a_question_takes_one_turn_or_a_description_first():
    assert turns("r1", "Q") == (render("r1", "Q"),)
    described, asked = turns("cot-kvg", question("kite"))
    assert described.startswith("Which object in this image is <|object_ref_start|>kite<|object_ref_end|>? Give a")
    assert asked == f"Based on the description, find {question('kite').removeprefix('Find ')}"


def test_an_unknown_prompt_names_the_known_ones():
    with pytest.raises(InputError, match="choose one of: bare, r1"):
        render("cot", "Q")  # type: ignore[arg-type]
