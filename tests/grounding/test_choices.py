"""Multiple choice: how a letter is read, and what no row may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepperception.errors import InputError
from deepperception.grounding import ChoiceSample, answered_letter, choice_prompt, choice_question, read_letter
from deepperception.grounding.boxes import Box
from deepperception.grounding.prompts import render

NAMES = ("Boeing 747", "Boeing 747-400", "Airbus A340", "Douglas DC-6")


def sample(**changes: object) -> ChoiceSample:
    return ChoiceSample(
        **{
            "question_id": "aircraft/1",
            "category": "aircraft",
            "question": choice_question("aircraft", NAMES),
            "choices": NAMES,
            "answer": "B",
            "image": b"x",
            **changes,
        }
    )


@pytest.mark.parametrize(
    "text, letter, form, why",
    [
        ("<think>four engines</think><answer>B</answer>", "B", "letter", "as trained"),
        ("<think>A or C?</think>\n<answer> (C). </answer>", "C", "letter", "with brackets and a point"),
        ("<think>A or C?</think>\n<answer> (C) </answer>", "C", "letter", "what is thought does not count"),
        ("<answer>A</answer> <answer>D.</answer>", "D", "letter", "the last answer counts"),
        ("<answer>B. Boeing 747-400</answer>", "B", "letter and name", "letter and name"),
        ("<answer>Boeing 747-400</answer>", "B", "name", "the longer name hides the shorter within it"),
        ("<answer>the Boeing 747</answer>", "A", "name", "the shorter by itself"),
        ("<answer>Airbus A340 or Douglas DC-6</answer>", None, "none", "two names are no answer"),
        ("<think>x</think> The answer is C", "C", "sentence", "no tags: what follows the thinking"),
        ("A", "A", "letter", "a bare reply"),
        ("A plane with four engines", None, "none", "a letter that is a word"),
        ("The answer is a plane", None, "none", "an article is no letter"),
        ("<answer>E</answer>", None, "none", "no such choice"),
        ("", None, "none", "nothing"),
    ],
)
def test_reading_a_letter(text: str, letter: str | None, form: str, why: str) -> None:
    assert read_letter(text, NAMES) == (letter, form), why


@pytest.mark.parametrize(
    "text, letter",
    [("<answer>B</answer>", "B"), ("<answer> (B) </answer>", "B"), ("<answer>A B C D</answer>", None), ("B", None)],
)
def test_the_strict_reading_pays_a_lone_letter_within_the_tags(text: str, letter: str | None) -> None:
    assert answered_letter(text) == letter


@given(st.text("<>/thinkanswer()ABCD.: Boeing747", max_size=150))
def test_any_text_is_read_without_an_error(text: str) -> None:
    letter, form = read_letter(text, NAMES)
    assert (letter is None) == (form == "none")
    assert answered_letter(text) in (None, *"ABCD")


def test_the_question_lists_the_names_and_tells_the_box() -> None:
    assert choice_question("aircraft", NAMES).splitlines()[0] == "Which aircraft is shown in the image?"
    assert choice_question("aircraft", NAMES).splitlines()[4] == "D. Douglas DC-6"
    asked = choice_question("aircraft", NAMES, Box(1, 2, 30, 40)).splitlines()[0]
    assert asked == "Which aircraft is shown in the image at <|box_start|>(1,2),(30,40)<|box_end|>?"
    assert render("fgvr", "Which?").startswith("Which?  Output the thinking process")
    assert "bounding box" not in render("fgvr", "Which?")


def test_a_thinking_model_is_asked_to_think_and_a_box_prompt_is_refused() -> None:
    assert (choice_prompt("r1"), choice_prompt("fgvr"), choice_prompt("bare")) == ("fgvr", "fgvr", "bare")
    with pytest.raises(InputError, match="'qwen3-vl' asks for a box"):
        choice_prompt("qwen3-vl")


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"choices": NAMES[:3]}, "not 4 different names"),
        ({"choices": (*NAMES[:3], "boeing  747")}, "not 4 different names"),
        ({"answer": "b"}, "expected one of the letters"),
        ({"answer": "E"}, "expected one of the letters"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused(changes: dict, complaint: str) -> None:
    assert sample().entity == "Boeing 747-400"
    with pytest.raises(InputError, match=complaint):
        sample(**changes)
