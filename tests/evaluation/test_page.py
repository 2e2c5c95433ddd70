"""The page of one evaluation."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from deepperception.artifacts import read_cases
from deepperception.artifacts.datasets import read_rows
from deepperception.evaluation.mistakes import judge
from deepperception.evaluation.page import write_page
from deepperception.evaluation.tiles import TileMaker, choose_tiles

from .test_report import Page


@pytest.fixture(scope="module")
def page(evaluations, benchmark, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_page(evaluations["GRPO"], benchmark, out, name="<script>GRPO")
    return out.read_text()


def test_it_needs_no_network_and_closes_its_tags(page: str) -> None:
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page), "everything is within the page"
    assert "http" not in page
    Page(
        re.sub(r"<script>\n.*?</script>", "", page, flags=re.DOTALL).replace('<input name="words"', '<br name="words"')
    )


def test_what_models_and_users_write_is_escaped(page: str) -> None:
    assert "<script>GRPO" not in page
    assert "&lt;script&gt;GRPO" in page


def test_every_case_can_be_sifted_by_what_became_of_it(page: str, evaluations, benchmark) -> None:
    cases = {case.question_id: case for case in read_cases(evaluations["GRPO"])}
    kinds = Counter(judge(cases[row.question_id], row.objects).kind for row in read_rows(benchmark))
    shown = Counter(re.findall(r'data-kind="([^"]+)"', page))
    assert shown == kinds, "so few cases are all shown"
    assert set(re.findall(r'data-category="([^"]+)"', page)) == {case.category for case in cases.values()}


def test_kinds_take_turns_where_not_all_fit(evaluations, benchmark) -> None:
    cases = read_cases(evaluations["GRPO"])
    kinds = {case.question_id: "right" if number else "no box" for number, case in enumerate(cases)}
    chosen = choose_tiles(cases, kinds, most=4)
    assert cases[0] in chosen, "the only one of its kind is among the first"
    assert len({case.category for case in chosen}) >= 3


def test_a_full_page_and_a_broken_picture_leave_the_tile_without_one(evaluations, benchmark) -> None:
    sample = next(iter(read_rows(benchmark)))
    case = next(case for case in read_cases(evaluations["GRPO"]) if case.question_id == sample.question_id)
    maker = TileMaker({case.question_id: "right"}, room=1)
    assert maker.of_box(case, sample).picture is not None
    assert maker.of_box(case, sample).picture is None, "the room is used up"
    from dataclasses import replace

    broken = TileMaker({case.question_id: "right"}).of_box(case, replace(sample, image=b"no picture"))
    assert broken.picture is None and broken.title == case.entity
