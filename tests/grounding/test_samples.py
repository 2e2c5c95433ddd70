from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from deepperception.errors import InputError
from deepperception.grounding import Box, Object, Sample, Source, answer_text, question

SAMPLE = Sample(
    question_id="bird/7",
    category="bird",
    question=question("Wren"),
    answer=answer_text("Wren", Box(1, 2, 3, 4)),
    image=b"",
    entity="Wren",
    objects=(Object("Wren", Box(1, 2, 3, 4)), Object("Robin", Box(5, 6, 7, 8))),
    sources=(Source("wren.jpg", "CC0-1.0"),),
    split="test",
    seen=True,
)


def test_the_target_is_the_answers_box():
    assert SAMPLE.target == Box(1, 2, 3, 4)


def test_a_row_without_a_box_has_no_target():
    with pytest.raises(InputError, match="holds no box"):
        _ = replace(SAMPLE, answer="Wren").target


def test_rows_do_not_change():
    with pytest.raises(FrozenInstanceError):
        SAMPLE.seen = False  # type: ignore[misc]
