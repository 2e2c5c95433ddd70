from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepperception.grounding import Box, answer_text, completion
from deepperception.grpo.rewards import (
    format_reward,
    iou_reward,
    letter_format_reward,
    letter_reward,
    raw_iou_reward,
)

TARGET = Box(500, 600, 1000, 800)
AS_TRAINED = completion(answer_text("Douglas DC-6", TARGET), "four engines")
STRIPPED = "<think>four engines</think><answer> Douglas DC-6(500,600),(1000,800) </answer>"


@pytest.mark.parametrize(
    "text, iou, why",
    [
        (AS_TRAINED, 1.0, "special tokens kept"),
        (STRIPPED, 1.0, "special tokens stripped"),
        ("<answer>(500,600),(900,800)</answer>", 0.8, "four fifths of it"),
        ("<answer>[500, 600, 900, 800]</answer>", 0.8, "a form that the evaluator reads is paid too"),
        ("<answer>[500,600,900,800]</answer>", 0.0, "one that it does not read is not"),
        ("<answer>(0,0),(1000,1000)</answer>", 0.1, "the whole picture"),
        ("<answer>(1000,800),(500,600)</answer>", 0.0, "swapped corners score nothing, so they earn nothing"),
        ("<answer>(0,0),(1,1)</answer><answer>(500,600),(1000,800)</answer>", 1.0, "the last answer counts"),
        ("Douglas DC-6(500,600),(1000,800)", 0.0, "no <answer>"),
        ("<think>a</think><answer>(500,600),(1000,800)", 0.0, "an answer cut off"),
        ("<think>(500,600),(1000,800)</think><answer>none</answer>", 0.0, "a box that was only thought of"),
        ("", 0.0, "nothing"),
    ],
)
def test_raw_iou(text, iou, why):
    assert raw_iou_reward(text, TARGET) == pytest.approx(iou), why


@pytest.mark.parametrize(
    "threshold, earned, why",
    [
        (0.79, 0.8, "beyond the threshold the IoU itself is paid"),
        (0.8, 0.0, "at the threshold nothing is: it must be exceeded"),
        (0.9, 0.0, "nor below"),
        (0.0, 0.8, "no threshold"),
    ],
)
def test_iou_reward(threshold, earned, why):
    assert iou_reward("<answer>(500,600),(900,800)</answer>", TARGET, threshold=threshold) == earned, why


@pytest.mark.parametrize(
    "text, earned, why",
    [
        (AS_TRAINED, 1.0, "special tokens kept"),
        (STRIPPED, 1.0, "special tokens stripped: upstream's off-by-one would pay 0.5"),
        ("<think>a\nb</think>\n <answer>\n(1,2),(3,4)\n</answer>", 1.0, "newlines are fine"),
        ("<think></think><answer>(1,2),(3,4)</answer>", 1.0, "even no thought at all, as upstream"),
        ("<think>a</think><answer>[1, 2, 3, 4]</answer>", 0.5, "tags alone"),
        ("<think>a</think><answer>(1, 2), (3, 4)</answer>", 0.5, "spaces are not canonical"),
        ("<think>a</think><answer>(,),(,)</answer>", 0.5, "numbers are missing"),
        ("<think>(1,2),(3,4)</think><answer>it</answer>", 0.5, "a box that was only thought of"),
        ("<answer>(1,2),(3,4)</answer>", 0.5, "the box alone: no thinking"),
        ("I say <think>a</think><answer>(1,2),(3,4)</answer>", 0.5, "something before the thinking"),
        ("<think>a</think> so <answer>(1,2),(3,4)</answer>", 0.5, "something between"),
        ("<think>a<answer>(1,2),(3,4)</answer>", 0.5, "thinking that does not end"),
        ("<think>a</think><answer>(1,2),(3,4)", 0.0, "an answer that does not end"),
        ("(1,2),(3,4)", 0.0, "no tags, no answer"),
        ("", 0.0, "nothing"),
    ],
)
def test_format_reward(text, earned, why):
    assert format_reward(text) == earned, why


@given(st.text("<>/thinkanswer()[],. 0123456789\n", max_size=120))
def test_any_text_earns_a_finite_share(text):
    assert 0 <= iou_reward(text, TARGET, threshold=0.5) <= raw_iou_reward(text, TARGET) <= 1
    assert format_reward(text) in (0, 0.5, 1)


@pytest.mark.parametrize(
    "text, letter, form, why",
    [
        ("<think>two engines</think><answer>B</answer>", 1.0, 1.0, "as trained"),
        ("<think>x</think> <answer> (B) </answer>", 1.0, 1.0, "brackets and spaces do no harm"),
        ("<think>x</think><answer>A</answer>", 0.0, 1.0, "another letter"),
        ("<think>B</think><answer>it</answer>", 0.0, 1.0, "a letter that was only thought of"),
        ("<answer>B</answer>", 1.0, 0.0, "right without thinking"),
        ("<think>x</think><answer>A B C D</answer>", 0.0, 1.0, "naming all four does not pay"),
        ("B", 0.0, 0.0, "no tags"),
        ("", 0.0, 0.0, "nothing"),
    ],
)
def test_letter_rewards(text, letter, form, why):
    assert letter_reward(text, "B") == letter, why
    assert letter_format_reward(text) == form, why
