"""Scores of single replies, and what metrics.json makes of them."""

import json

import pytest

from deepperception.artifacts.evaluations import Case
from deepperception.evaluation.metrics import metrics, score
from deepperception.grounding import Box, Sample, answer_text, question
from deepperception.statistics import wilson

SAMPLE = Sample(
    question_id="bird/1",
    category="bird",
    question=question("kite"),
    answer=answer_text("kite", Box(100, 100, 300, 300)),
    image=b"",
    entity="kite",
    split="test",
    seen=True,
)


@pytest.mark.parametrize(
    ("text", "official", "robust", "why"),
    [
        ("kite(100,100),(300,300)", True, True, "the target itself"),
        ("kite(100,100),(300,200)", True, True, "half of it: an IoU of 0.5 exactly is right"),
        ("kite(100,100),(300,199)", False, False, "just less than half"),
        ("kite(300,300),(100,100)", False, True, "swapped corners: the paper's evaluator scores 0"),
        ("[100,100,300,300]", False, True, "no space after the comma: the paper's evaluator reads nothing"),
        ("(0.1,0.1),(0.3,0.3)", True, True, "fractions"),
        ("(nan,nan),(nan,nan)", False, False, "numbers that are none"),
        ("I see no kite.", False, False, "no box"),
        ("", False, False, "an empty reply"),
    ],
)
def test_a_reply_is_read_in_both_ways(text, official, robust, why):
    case = score(SAMPLE, [text])
    assert (case.correct, case.robust_correct) == (official, robust), why
    json.dumps(case.official, allow_nan=False)


def test_no_reply_is_wrong_and_told_from_an_empty_one():
    assert (score(SAMPLE, []).form, score(SAMPLE, [""]).form) == ("missing", "none")
    assert not score(SAMPLE, []).correct


def case(iou: float, *, category: str, seen: bool, form: str = "pairs", robust_iou: float | None = None) -> Case:
    return Case(
        question_id="",
        category=category,
        seen=seen,
        entity="kite",
        target=(0, 0, 1, 1),
        text="",
        official=(0, 0, 1, 1),
        official_iou=iou,
        robust=None,
        robust_iou=iou if robust_iou is None else robust_iou,
        form=form,
    )


def test_the_layout_is_the_contracts():
    cases = [
        case(0.9, category="bird", seen=True),
        case(0.3, category="bird", seen=True, robust_iou=0.7, form="list"),
        case(0.5, category="dog", seen=False),
    ]
    result = metrics(cases, benchmark={"file": "f"}, backend={"engine": "e"})
    assert list(result) == ["benchmark", "backend", "official", "robust", "replies"]
    assert list(result["official"]) == ["all", "seen", "unseen", "categories"]
    assert result["official"]["all"] == {
        "cases": 3,
        "correct": 2,
        "accuracy": 2 / 3,
        "accuracy_ci95": list(wilson(2, 3)),
        "mean_iou": pytest.approx((0.9 + 0.3 + 0.5) / 3),
    }
    assert result["official"]["seen"]["accuracy"] == 0.5
    assert result["official"]["unseen"]["accuracy"] == 1.0
    assert {name: scores["correct"] for name, scores in result["official"]["categories"].items()} == {
        "bird": 1,
        "dog": 1,
    }
    assert result["robust"]["all"]["correct"] == 3
    assert result["robust"]["forms"] == {"list": 1, "pairs": 2}


def test_what_is_wrong_with_boxes_is_counted():
    texts = {
        "(100,100),(300,300)": None,
        "kite": "no_box",
        "(300,300),(100,100)": "reversed",
        "(100,100),(300,1300)": "outside",
        "(-5, 100, 300, 300)": "no_box",
    }
    replies = metrics([score(SAMPLE, [text]) for text in texts] + [score(SAMPLE, [])], benchmark={}, backend={})[
        "replies"
    ]
    assert replies == {"missing": 1, "no_box": 2, "reversed": 1, "outside": 1}


def test_a_split_without_cases_has_no_accuracy():
    unseen = metrics([case(1, category="bird", seen=True)], benchmark={}, backend={})["official"]["unseen"]
    assert unseen == {"cases": 0, "correct": 0, "accuracy": None, "accuracy_ci95": [0.0, 1.0], "mean_iou": None}


def test_all_replies_to_a_question_count_beside_the_first():
    right, wrong = "kite(100,100),(300,300)", "I see no kite."
    cases = [score(SAMPLE, [wrong, right, right, wrong]), score(SAMPLE, [right, right, right, right])]
    content = metrics(cases, benchmark={}, backend={})
    assert content["official"]["all"]["correct"] == 1, "the first reply is the answer"
    sampled = content["sampled"]["all"]
    assert (sampled["samples"], sampled["accuracy"]) == (4, 0.75)
    assert sampled["pass_at"] == {"1": 0.75, "2": pytest.approx((5 / 6 + 1) / 2), "4": 1}
    assert content["sampled"]["unseen"]["accuracy"] is None
    low, high = sampled["accuracy_ci95"]
    assert 0.5 <= low <= 0.75 <= high <= 1
    assert "sampled" not in metrics([score(SAMPLE, [right])], benchmark={}, backend={})
