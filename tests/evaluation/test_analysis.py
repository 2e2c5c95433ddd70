"""The paper's analyses."""

from __future__ import annotations

import json

import pytest

from deepperception.artifacts import read_cases
from deepperception.artifacts.choice_cases import ChoiceCase
from deepperception.artifacts.datasets import read_rows, write_rows
from deepperception.errors import InputError
from deepperception.evaluation.analysis import Extent, Inputs, run, told
from deepperception.evaluation.analysis_page import write_analysis_page
from deepperception.evaluation.breakdown import breakdowns, size_group, size_groups
from deepperception.evaluation.divergence import parts_of
from deepperception.evaluation.knowledge import knowledge, level_of, recognition_against_grounding
from deepperception.evaluation.probes import Probes
from deepperception.grounding import LETTERS, Box
from deepperception.inference.images import open_image

from .conftest import COLOURS, make_context


@pytest.mark.parametrize(
    "share, level",
    [
        (1.0, "completely correct"),
        (0.70, "completely correct"),
        (0.699, "mostly correct"),
        (0.45, "mostly correct"),
        (0.44, "partially correct"),
        (0.30, "partially correct"),
        (0.29, "mostly incorrect"),
        (0.10, "mostly incorrect"),
        (0.09, "completely incorrect"),
        (0.0, "completely incorrect"),
    ],
)
def test_levels_are_the_papers(share: float, level: str) -> None:
    assert level_of(share) == level


@pytest.mark.parametrize(
    "box, group",
    [
        (Box(0, 0, 99, 100), "under 1 %"),
        (Box(0, 0, 100, 100), "1 to 5 %"),
        (Box(0, 0, 500, 399), "10 to 20 %"),
        (Box(0, 0, 1000, 1000), "over 40 %"),
    ],
)
def test_box_sizes_are_shares_of_the_picture(box: Box, group: str) -> None:
    assert size_group(box) == group
    assert len(size_groups()) == 6


def test_breakdowns_count_every_case_once(evaluations, benchmark) -> None:
    cases = {case.question_id: case for case in read_cases(evaluations["GRPO"])}
    found = breakdowns(cases, benchmark)
    assert list(found["candidates"]) == ["4"]
    for groups in found.values():
        assert sum(group["all"]["cases"] for group in groups.values()) == len(cases)
        assert sum(group["all"]["correct"] for group in groups.values()) == sum(case.correct for case in cases.values())
        for group in groups.values():
            assert group["all"]["cases"] == group["seen"]["cases"] + group["unseen"]["cases"]


def test_probes_ask_about_what_the_benchmark_shows(benchmark) -> None:
    probes = Probes(benchmark)
    asked = list(probes.of_knowledge(3))
    per_entity = {name: [each for each in asked if each.entity == name] for name in COLOURS}
    assert all(len(found) == 3 for found in per_entity.values()), "at most as many as were asked for"
    for each in asked[:5]:
        middle = open_image(each.image)
        colour = middle.getpixel((middle.width // 2, middle.height // 2))
        wanted = tuple(int(COLOURS[each.entity][place : place + 2], 16) for place in (1, 3, 5))
        assert colour == wanted, "the picture is of the entity that the letter names"
    rows = {row.question_id: row for row in read_rows(benchmark)}
    for each in probes.of_recognition():
        row = rows[each.question_id]
        assert each.entity == row.entity and row.target.text() in each.question
        assert {thing.entity for thing in row.objects} == set(each.choices), "look-alikes of the picture come first"
    assert {each.answer for each in probes.of_recognition()} == set(LETTERS)
    assert list(Probes(benchmark, seed=0).of_knowledge(3)) == asked


def test_without_four_entities_there_is_no_question(benchmark, tmp_path) -> None:
    from dataclasses import replace

    rows = [replace(row, objects=row.objects[:1]) for row in read_rows(benchmark) if row.entity in ("Tavel", "Mirop")]
    write_rows(tmp_path / "two.parquet", rows)
    with pytest.raises(InputError, match="no category has the 4 entities"):
        Probes(tmp_path / "two.parquet")


def probe(entity: str, right: bool, number: int, letter: bool = True) -> ChoiceCase:
    return ChoiceCase(
        question_id=f"{entity}/{number}",
        category="blobs",
        seen=True,
        choices=(entity, "x", "y", "z"),
        answer="A",
        text="",
        letter=("A" if right else "B") if letter else None,
        form="letter" if letter else "none",
    )


def test_grounding_is_scored_by_level(evaluations) -> None:
    cases = read_cases(evaluations["GRPO"])
    probed = [probe("Tavel", True, 0), probe("Tavel", True, 1), probe("Mirop", False, 0), probe("Mirop", False, 1)]
    found = knowledge(probed, cases)
    of = {name: [case for case in cases if case.entity == name] for name in ("Tavel", "Mirop")}
    assert found["entities"]["Tavel"] == {"pictures": 2, "right": 2, "level": "completely correct"}
    assert found["high"]["grounding"]["all"]["cases"] == len(of["Tavel"])
    assert found["low"]["grounding"]["all"]["correct"] == sum(case.correct for case in of["Mirop"])
    assert found["not_probed"] == len(cases) - len(of["Tavel"]) - len(of["Mirop"])
    assert found["levels"]["mostly correct"]["entities"] == 0


def test_the_four_fields_are_those_of_the_paper(evaluations) -> None:
    cases = {case.question_id: case for case in read_cases(evaluations["GRPO"])}
    from dataclasses import replace

    named = [replace(probe("x", number % 3 > 0, 0), question_id=name) for number, name in enumerate(cases)]
    found = recognition_against_grounding(named, cases)
    four = [found[name]["correct"] for name in ("both", "recognised_only", "grounded_only", "neither")]
    assert sum(four) == found["cases"] == len(cases)
    assert found["recognition"]["correct"] == four[0] + four[1]
    assert found["grounding"]["correct"] == four[0] + four[2] == sum(case.correct for case in cases.values())
    assert found["grounding_where_recognised"]["cases"] == four[0] + four[1]


@pytest.mark.parametrize(
    "pieces, parts, why",
    [
        (
            ["<think>", "a b", "</think>", "<answer>", "(1,2)", "</answer>"],
            ["tags", "reasoning", "tags", "tags", "answer", "tags"],
            "tags of one token",
        ),
        (["<", "think", ">", "a", "</", "think>"], ["tags"] * 3 + ["reasoning"] + ["tags"] * 2, "tags of several"),
        (["<think>", "cut", " off"], ["tags", "reasoning", "reasoning"], "reasoning that does not end"),
        (["(1,2)", ",(3,4)"], ["answer", "answer"], "a bare reply is all answer"),
        ([], [], "nothing was said"),
    ],
)
def test_tokens_are_told_apart(pieces: list[str], parts: list[str], why: str) -> None:
    assert parts_of(pieces) == parts, why


def test_the_breakdown_needs_no_model(evaluations, benchmark, tmp_path) -> None:
    inputs = Inputs(evaluations["GRPO"], benchmark)
    first = run(inputs, Extent(), tmp_path / "one", make_context())
    assert first.digest == run(inputs, Extent(), tmp_path / "two", make_context()).digest
    found = json.loads((tmp_path / "one" / "analysis.json").read_text())
    assert set(found) == {"about", "breakdown"}
    assert told(found)[0].startswith("accuracy by candidates: 4: ")
    page = (tmp_path / "one" / "analysis.html").read_text()
    assert "By the size of the box" in page and "Recognition" not in page and "http" not in page


def test_a_page_shows_all_that_was_found(evaluations, benchmark, tmp_path) -> None:
    cases = {case.question_id: case for case in read_cases(evaluations["GRPO"])}
    named = [probe(name, True, number, letter=False) for name in COLOURS for number in range(2)]
    nats = {"mean": 0.2, "ci95": [0.1, 0.3]}
    parts = {part: {"tokens": 5, "exact": nats, "k3": nats} for part in ("reasoning", "answer")}
    parts["tags"] = {"tokens": 0, "exact": {"mean": None, "ci95": None}, "k3": {"mean": None, "ci95": None}}
    left_out = {"left_out_categories": ["ferns"], "warning": "100 % of the replies hold no letter"}
    found = {
        "about": {"file": "<i>x", "cases": len(cases)},
        "breakdown": breakdowns(cases, benchmark),
        "knowledge": {**knowledge(named, cases.values()), **left_out},
        "recognition": {**recognition_against_grounding([], cases), **left_out},
        "probed": {"prompt": "fgvr"},
        "divergence": {"replies": 3, "parts": parts},
    }
    write_analysis_page(found, benchmark, tmp_path)
    page = (tmp_path / "analysis.html").read_text()
    for said in (
        "Known and unknown",
        "against grounding",
        "Divergence",
        "ferns",
        "hold no letter",
        "0.2000",
        "&lt;i&gt;x",
    ):
        assert said in page, said


@pytest.mark.parametrize("given", ["later", "before"])
def test_a_divergence_needs_two_models(evaluations, benchmark, tmp_path, given: str) -> None:
    inputs = Inputs(evaluations["GRPO"], benchmark, **{given: tmp_path})
    with pytest.raises(InputError, match="give both --model and --before"):
        run(inputs, Extent(), tmp_path / "out", make_context())
