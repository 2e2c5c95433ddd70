"""What a wrong answer hit."""

import pytest

from deepperception.evaluation.metrics import score
from deepperception.evaluation.mistakes import Confusion, Tally, judge
from deepperception.grounding import Box, Object, Sample, answer_text, question

OBJECTS = (
    Object("kite", Box(100, 100, 300, 300)),
    Object("buzzard", Box(500, 100, 700, 300)),
    Object("hawk", Box(520, 120, 700, 300)),
)
SAMPLE = Sample(
    question_id="bird/1",
    category="bird",
    question=question("kite"),
    answer=answer_text("kite", OBJECTS[0].box),
    image=b"",
    entity="kite",
    objects=OBJECTS,
    split="test",
    seen=True,
)


@pytest.mark.parametrize(
    ("text", "kind", "instead", "why"),
    [
        ("(100,100),(300,300)", "right", None, "the target"),
        ("(500,100),(700,300)", "a look-alike", "buzzard", "of two that overlap, the closer one"),
        ("(700,700),(900,900)", "no object", None, "nothing is there"),
        ("(100,100),(300,190)", "no object", None, "too little even of the target"),
        ("(300,300),(100,100)", "no object", None, "reversed corners overlap with nothing"),
        ("There is none.", "no box", None, "no box"),
        ("", "no box", None, "an empty reply"),
    ],
)
def test_a_reply_is_judged_by_what_it_boxed(text, kind, instead, why):
    judged = judge(score(SAMPLE, [text]), OBJECTS)
    assert (judged.kind, judged.instead) == (kind, instead), why


def test_a_benchmark_without_objects_names_no_look_alike():
    assert judge(score(SAMPLE, ["(500,100),(700,300)"]), ()).kind == "no object"


def test_a_tally_adds_up_and_ranks_who_was_taken_for_whom():
    tally = Tally()
    replies = ["(500,100),(700,300)"] * 2 + ["(520,120),(700,300)", "(100,100),(300,300)", "none"]
    for reply in replies:
        tally.add(score(SAMPLE, [reply]), OBJECTS)
    assert sum(tally.kinds.values()) == len(replies)
    assert tally.confusions(5) == [Confusion("bird", "kite", "buzzard", 2), Confusion("bird", "kite", "hawk", 1)]
    assert tally.confusions(1) == [Confusion("bird", "kite", "buzzard", 2)]
