"""Which reasoning is refused, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepperception.grounding import Box, Object, Sample, answer_text, question
from deepperception.synthesis.config import FilterConfig
from deepperception.synthesis.filter import Filter

TARGET, OTHER = Box(100, 100, 300, 300), Box(500, 100, 900, 700)
SAMPLE = Sample(
    question_id="aircraft/0",
    category="aircraft",
    question=question("Boeing 747"),
    answer=answer_text("Boeing 747", TARGET),
    image=b"",
    entity="Boeing 747",
    objects=(Object("Boeing 747", TARGET), Object("Il-62", OTHER)),
    split="train",
    seen=True,
)
NAMES = {"aircraft": ["Boeing 747", "Boeing 747-400", "Il-62", "Tu-154"]}


@pytest.mark.parametrize(
    "reasoning, refusal, why",
    [
        ("The Boeing 747 is at (100,100),(300,300).", None, "named, and boxed rightly"),
        ("The boeing 747 is the one with a hump.", None, "a box need not be told, and case does not matter"),
        ("Il-62 (500,100),(900,700): no. Boeing 747 (100, 100), (300, 300): match.", None, "the last box concludes"),
        ("The Boeing 747 (120,100),(300,310).", None, "a rounded box still overlaps enough"),
        ("", "empty", "nothing"),
        ("  \n ", "empty", "nothing but space"),
        ("Boeing 747 " * 50, "too long", "550 characters where 500 are allowed"),
        ("The Boeing 747.</think>", "holds markup", "would end the reasoning early"),
        ("The Boeing 747 <|box_start|>", "holds markup", "a special token"),
        ("It is at (100,100),(300,300).", "target not named", "nobody is named"),
        ("The Boeing 747-400 has winglets.", "target not named", "a longer name is another entity"),
        ("The MyBoeing 7471 flies.", "target not named", "a part of a longer word is no name"),
        ("The Boeing 747 is unlike the Tu-154.", "names an absent entity", "no Tu-154 is in the picture"),
        ("The Boeing 747, no Boeing 747-400.", "names an absent entity", "the longer name is absent too"),
        ("Boeing 747: (500,100),(900,700)", "concludes with another box", "the other one's box"),
        ("Boeing 747: (300,300),(100,100)", "concludes with another box", "reversed, so no box at all"),
        ("Boeing 747: (100,100),(300,3000)", "concludes with another box", "outside the frame"),
    ],
)
def test_refusals(reasoning: str, refusal: str | None, why: str) -> None:
    assert Filter(FilterConfig(max_characters=500), NAMES, box_step=1).refusal(reasoning, SAMPLE) == refusal, why


def test_the_least_overlap_is_a_setting() -> None:
    reasoning = "Boeing 747: (150,100),(350,300)"  # an overlap of 0.6
    assert Filter(FilterConfig(target_iou=0.5), NAMES, box_step=1).refusal(reasoning, SAMPLE) is None
    assert (
        Filter(FilterConfig(target_iou=0.7), NAMES, box_step=1).refusal(reasoning, SAMPLE)
        == "concludes with another box"
    )


def test_a_small_box_is_held_against_what_the_teacher_was_told() -> None:
    small = Box(60, 60, 75, 75)
    sample = replace(SAMPLE, answer=answer_text("Boeing 747", small), objects=(Object("Boeing 747", small),))
    told = f"Boeing 747: {small.rounded(50).text()}"
    assert Filter(FilterConfig(), NAMES, box_step=50).refusal(told, sample) is None
    assert Filter(FilterConfig(), NAMES, box_step=1).refusal(told, sample) == "concludes with another box"
