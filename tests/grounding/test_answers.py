from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepperception.errors import InputError
from deepperception.grounding import (
    Box,
    Parsed,
    answer_text,
    completion,
    official_box,
    parse,
    target_box,
    target_entity,
)

DC6 = Box(519, 608, 986, 768)
DC6_ANSWER = "<|object_ref_start|>Douglas DC-6<|object_ref_end|><|box_start|>(519,608),(986,768)<|box_end|>"

sides = st.tuples(st.integers(0, 999), st.integers(1, 1000)).filter(lambda side: side[0] < side[1])
whole_boxes = st.builds(lambda x, y: Box(x[0], y[0], x[1], y[1]), sides, sides)
names = st.text("abc (),[]-'é0123456789\n", min_size=1).filter(str.strip)


def strip_special_tokens(text: str) -> str:
    for token in ("object_ref_start", "object_ref_end", "box_start", "box_end"):
        text = text.replace(f"<|{token}|>", "")
    return text


def test_the_answer_is_the_benchmarks():
    assert answer_text("Douglas DC-6", DC6) == DC6_ANSWER


def test_completion_thinks_first_or_answers_alone():
    assert completion(DC6_ANSWER, "four engines") == f"<think>four engines</think><answer> {DC6_ANSWER} </answer>"
    assert completion(DC6_ANSWER, None) == DC6_ANSWER


@given(names, whole_boxes)
def test_targets_are_read_back(name, box):
    answer = answer_text(name, box)
    assert (target_entity(answer), target_box(answer)) == (name, box)


@pytest.mark.parametrize(
    "answer, complaint",
    [
        ("", "holds no box"),
        ("Douglas DC-6(519,608),(986,768)", "holds no box"),
        ("<|box_start|>(519,608)<|box_end|>", "holds no box"),
        ("<|box_start|>(986,768),(519,608)<|box_end|>", "reversed"),
        ("<|box_start|>(519,608),(1986,768)<|box_end|>", "leaves the frame"),
    ],
)
def test_a_target_that_is_no_box_is_refused(answer, complaint):
    with pytest.raises(InputError, match=complaint):
        target_box(answer)


@given(names, whole_boxes, st.none() | st.text("abc .(1,2)", max_size=40), st.booleans())
def test_what_is_written_is_read_with_and_without_special_tokens(name, box, reasoning, stripped):
    text = completion(answer_text(name, box), reasoning)
    parsed = parse(strip_special_tokens(text) if stripped else text)
    assert parsed.box == box
    assert parsed.form == "pairs"
    assert parsed.reasoning == (None if reasoning is None else reasoning.strip())


@pytest.mark.parametrize(
    "text, parsed, why",
    [
        (
            "<think> four engines </think><answer> Douglas DC-6(519,608),(986,768) </answer>",
            Parsed("four engines", "Douglas DC-6(519,608),(986,768)", DC6, "pairs"),
            "as trained, special tokens stripped",
        ),
        ("Douglas DC-6(519,608),(986,768)", Parsed(None, None, DC6, "pairs"), "a base model answers without tags"),
        (
            "<think>a (1,2),(3,4)</think> (519,608),(986,768)",
            Parsed("a (1,2),(3,4)", None, DC6, "pairs"),
            "the answer's tags forgotten: what follows the thinking",
        ),
        (
            "<think>it is (519,608),(986,768) bec",
            Parsed("it is (519,608),(986,768) bec", None, DC6, "pairs"),
            "cut off",
        ),
        ("<think>a<answer>b</answer>", Parsed("a", "b", None, "none"), "the thinking was not closed"),
        ("", Parsed(None, None, None, "none"), "nothing"),
    ],
)
def test_parse(text, parsed, why):
    assert parse(text) == parsed, why


@given(names.filter(lambda name: "(" not in name), whole_boxes.filter(lambda box: sum(box.as_tuple()) >= 4))
def test_the_papers_evaluator_reads_a_trained_answer(name, box):
    assert official_box(strip_special_tokens(completion(answer_text(name, box), "why"))) == box.as_tuple()
