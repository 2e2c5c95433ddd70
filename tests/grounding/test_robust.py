from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepperception.grounding import Box, robust_box
from deepperception.grounding.robust import answer_part, closed_answer

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data/official_boxes.jsonl").read_text(encoding="utf-8").splitlines()
]
BOX = Box(12, 34, 56, 78)


@pytest.mark.parametrize(
    "text, box, form",
    [
        ("(12,34),(56,78)", BOX, "pairs"),
        ("<|box_start|>(12,34),(56,78)<|box_end|>", BOX, "pairs"),
        ("( 12 , 34 ) , ( 56 , 78 )", BOX, "pairs"),
        ("top left (12, 34) and bottom right (56, 78)", BOX, "pairs"),
        ("[[12, 34], [56, 78]]", BOX, "pairs"),
        ("(12 34)\n(56 78)", BOX, "pairs"),
        ("Foo (1,2)(12,34),(56,78)", BOX, "pairs"),
        ("(1,2),(3,4) (12,34),(56,78)", BOX, "pairs"),
        ("(12.0,34.0),(56.0,78.0)", BOX, "pairs"),
        ("[12,34,56,78]", BOX, "list"),
        ("(12, 34, 56, 78)", BOX, "list"),
        ('```json\n[{"bbox_2d": [12, 34, 56, 78], "label": "Audi A5 2012"}]\n```', BOX, "list"),
        ("x1=12, y1=34, x2=56, y2=78", BOX, "keys"),
        ('{"x_min": 12, "y_min": 34, "x_max": 56, "y_max": 78}', BOX, "keys"),
        ("left: 12; top: 34; right: 56; bottom: 78", BOX, "keys"),
        ("12, 34, 56, 78", BOX, "numbers"),
        ("Boeing 747, 12, 34, 56, 78.", BOX, "numbers"),
        ("(0.012,0.034),(0.056,0.078)", BOX, "pairs, fractions"),
        ("(0.0,0.0),(1.0,1.0)", Box(0, 0, 1000, 1000), "pairs, fractions"),
        ("(0,0),(1,1)", Box(0, 0, 1, 1), "pairs"),  # without a point it is thousandths, as trained
        ("(56,34),(12,78)", BOX, "pairs, swapped"),
        ("[56, 78, 12, 34]", BOX, "list, swapped"),
        ("(-12,34),(56,1078)", Box(0, 34, 56, 1000), "pairs, clipped"),
        ("(1,2) (3,4),(5,6) or rather, seen from further away, say at (12,34),(56,78)", BOX, "pairs"),
        ("(12,34),(56,78) not (5,5),(5,9)", BOX, "pairs"),  # what has no width is passed over
        ("[1,2,3,4] no: (12,34),(56,78)", BOX, "pairs"),  # the last, whatever its form
        ("(1,2),(3,4) no: [12,34,56,78]", BOX, "list"),
        ("", None, "none"),
        ("there is no such bird", None, "none"),
        ("(1000,1000),(2000,2000)", None, "none"),
        ("(12,34),(56", None, "none"),
        ("1.2.3.4, 12, 34", None, "none"),
    ],
)
def test_forms(text, box, form):
    assert robust_box(text) == (box, form)


@pytest.mark.parametrize(
    "text, part, why",
    [
        ("<think>a</think><answer> b </answer>", " b ", "the answer"),
        ("<answer>a</answer><answer>b</answer> end", "b", "the last answer"),
        ("<think>I use <answer> tags</think><answer>b</answer>", "b", "a tag that is only mentioned"),
        ("<ANSWER>b</Answer>", "b", "any case"),
        ("<think>a</think><answer> b", " b", "cut off within the answer"),
        ("<think>a</think> b", " b", "tags forgotten"),
        ("<think>a</think>\n", "<think>a</think>\n", "nothing after the thinking: all there is"),
        ("b", "b", "no tags"),
    ],
)
def test_where_the_answer_is_looked_for(text, part, why):
    assert answer_part(text) == part, why


def test_a_complete_answer_needs_its_closing_tag():
    assert closed_answer("<answer>(1,2),(3,4)") is None
    assert closed_answer("<answer></answer>") == ""


def test_a_box_that_was_only_thought_of_is_no_answer():
    assert robust_box("<think>(12,34),(56,78)</think><answer>I cannot find it.</answer>") == (None, "none")


def officially_a_box(vector):
    x1, y1, x2, y2 = vector["box"]
    only_thought_of = "I cannot find" in vector["text"]  # there the official parser takes a box from the reasoning
    return 0 <= x1 < x2 <= 1000 and 0 <= y1 < y2 <= 1000 and not only_thought_of


def test_the_vectors_hold_boxes():
    assert sum(map(officially_a_box, VECTORS)) == 165


@pytest.mark.parametrize("vector", list(filter(officially_a_box, VECTORS)), ids=lambda vector: f"form{vector['form']}")
def test_reads_every_box_that_the_official_parser_reads(vector):
    assert robust_box(vector["text"])[0] == Box(*vector["box"])


@given(st.text('()[]{},.;:=xy12 0-+\n<>/answerthink"', max_size=80))
def test_never_raises_and_names_what_it_found(text):
    box, form = robust_box(text)
    assert (box is None) == (form == "none")


@pytest.mark.parametrize("piece", ["(1,", "1,", "(1,2)", "<answer>", "x1=1,", "[", "1 ", "<think>", "9", "</think>"])
def test_a_reply_that_repeats_itself_is_read_quickly(piece):
    started = time.perf_counter()
    robust_box(piece * (4000 // len(piece)))
    assert time.perf_counter() - started < 2
