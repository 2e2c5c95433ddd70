"""Asking teachers, and what becomes of their replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from deepperception.errors import InputError
from deepperception.grounding import Box, Object, Sample, answer_text, question
from deepperception.inference.engine import Decoding, Request
from deepperception.synthesis.config import FilterConfig, TeacherConfig
from deepperception.synthesis.filter import Filter
from deepperception.synthesis.reason import Explainer, open_teacher, request_text
from deepperception.synthesis.rows import Row


def sample(number: int = 0) -> Sample:
    target = Box(13, 88, 512, 491)
    return Sample(
        question_id=f"bird/{number}",
        category="bird",
        question=question("Barn owl"),
        answer=answer_text("Barn owl", target),
        image=f"picture {number}".encode(),
        entity="Barn owl",
        objects=(Object("Elf owl", Box(600, 0, 1000, 487)), Object("Barn owl", target)),
        split="train",
        seen=True,
    )


def rows() -> Iterator[Row]:
    return (Row(sample(number), "grid") for number in range(10_000))


class Teacher:
    """Replies with what `say` makes of the number of the request, and keeps what it was asked."""

    def __init__(self, say: Callable[[int], str]) -> None:
        self.say = say
        self.asked: list[Request] = []
        self.batches: list[int] = []
        self.decodings: list[Decoding] = []
        self.backend: dict[str, Any] = {"engine": "test"}

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
        self.batches.append(len(requests))
        self.decodings.append(decoding)
        for request in requests:
            self.asked.append(request)
            yield [self.say(len(self.asked) - 1)]


def explainer(teacher: Teacher, **settings: Any) -> Explainer:
    names = {"bird": ["Barn owl", "Elf owl", "Tawny owl"]}
    filter_settings = FilterConfig(**{key: settings.pop(key) for key in ("min_kept",) if key in settings})
    return Explainer(
        teacher, Filter(filter_settings, names, box_step=25), TeacherConfig(**settings), box_step=25, seed=5
    )


def test_a_request_tells_a_machine_all_objects_and_the_target() -> None:
    lines = request_text(sample(), box_step=1).splitlines()
    assert "category: bird" in lines
    assert [line for line in lines if line.startswith("- ")] == [
        "- Elf owl: (600,0),(1000,487)",
        "- Barn owl: (13,88),(512,491)",
    ]
    assert [line for line in lines if line.startswith("Target: ")] == ["Target: Barn owl: (13,88),(512,491)"]


def test_boxes_in_a_request_are_in_the_models_steps() -> None:
    text = request_text(sample(), box_step=25)
    assert "Target: Barn owl: (25,100),(500,500)" in text
    numbers = [int(number) for pair in re.findall(r"\((\d+),(\d+)\)", text) for number in pair]
    assert len(numbers) == 12 and all(number % 25 == 0 for number in numbers)


def test_rows_come_back_explained_and_otherwise_unchanged() -> None:
    teacher = Teacher(lambda number: f"  Barn owl, number {number}.\n")
    explained = list(explainer(teacher, batch_size=4, temperature=0.3, max_new_tokens=99).explain(rows(), 6))
    assert [row.sample.reasoning for row in explained] == [f"Barn owl, number {number}." for number in range(6)]
    assert [row.sample.question_id for row in explained] == [f"bird/{number}" for number in range(6)]
    assert [request.image for request in teacher.asked] == [f"picture {number}".encode() for number in range(6)]
    assert teacher.batches == [4, 2], "no more is asked than is wanted"
    assert set(teacher.decodings) == {Decoding(max_new_tokens=99, temperature=0.3, samples=1, seed=5)}


def test_refused_reasoning_is_counted_and_the_next_rows_take_its_place() -> None:
    teacher = Teacher(lambda number: ["Barn owl.", "", "Barn owl, no Tawny owl."][number % 3])
    asking = explainer(teacher, batch_size=5)
    explained = list(asking.explain(rows(), 4))
    assert [row.sample.question_id for row in explained] == ["bird/0", "bird/3", "bird/6", "bird/9"]
    assert (asking.kept, asking.refused) == (4, {"empty": 3, "names an absent entity": 3})


def test_a_teacher_that_is_mostly_refused_stops_the_stage() -> None:
    asking = explainer(
        Teacher(lambda number: "Barn owl." if number % 10 == 0 else "An owl."), batch_size=20, min_kept=0.2
    )
    with pytest.raises(InputError, match=r"only 2 of 20 explanations by 'rules' .* \(18 refused: target not named\)"):
        list(asking.explain(rows(), 100))


def test_an_unknown_teacher_is_named_with_its_neighbour() -> None:
    with pytest.raises(InputError, match=r"synthesis\.teacher\.kind: there is no 'rule'; did you mean 'rules'\?"):
        open_teacher(TeacherConfig(kind="rule"), box_step=1)
