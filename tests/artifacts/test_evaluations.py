"""Cases survive the file, and only what was measured alike is paired."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import Case, paired, read_cases, read_metrics, write_cases
from deepperception.errors import InputError

Write = Callable[..., Path]


def case(number: int, *, iou: float = 1.0, **fields: Any) -> Case:
    given = {
        "question_id": f"dog/{number}",
        "category": "dog",
        "seen": number % 2 == 0,
        "entity": "Pug",
        "target": (0.0, 0.0, 10.0, 10.0),
        "text": "the pug,\u2028 «(0,0),(10,10)»\n",
        "official": (0.0, 0.0, 10.0, 10.0),
        "official_iou": iou,
        "robust": None,
        "robust_iou": 0.0,
        "form": "none",
    }
    return Case(**(given | fields))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def evaluation(name: str, cases: list[Case], benchmark: str = "sha256:b", **backend: Any) -> Path:
        folder = tmp_path / name
        write_cases(folder, cases)
        same = {
            "engine": "transformers",
            "version": "5.23.0",
            "dtype": "float32",
            "prompt": name,
            "decoding": {"samples": 1},
        }
        metrics = {"benchmark": {"digest": benchmark, "file": name}, "backend": same | backend, "official": {}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return evaluation


def test_cases_come_back_as_they_were(tmp_path: Path) -> None:
    cases = [case(0, official_iou=1 / 3), case(1, robust=(1.5, 2.0, 3.0, 4.0), robust_iou=0.5, form="json")]
    assert write_cases(tmp_path, iter(cases)) == 2
    assert read_cases(tmp_path) == cases


@pytest.mark.parametrize(
    ("iou", "right"),
    [(0.0, False), (0.49999, False), (0.5, True), (1.0, True)],
    ids=["none", "just below", "at", "all"],
)
def test_right_is_an_overlap_of_half_or_more(iou: float, right: bool) -> None:
    assert case(0, official_iou=iou).correct is right
    assert case(0, robust_iou=iou).robust_correct is right


def test_pairs_are_aligned_by_question(write: Write) -> None:
    a = write("a", [case(n, iou=n % 2) for n in range(6)])
    b = write("b", [case(n, iou=float(n > 3)) for n in reversed(range(6))])
    pairs = paired(a, b)
    assert [one.question_id for one in pairs.a] == [one.question_id for one in pairs.b]
    assert pairs.right_a == [False, True, False, True, False, True]
    assert pairs.right_b == [False, False, False, False, True, True]
    assert pairs.only_right == (2, 1)
    assert (len(pairs), len(pairs.where(seen=True)), pairs.where(seen=False).only_right) == (6, 3, (2, 0))


def test_the_prompt_is_each_models_own(write: Write) -> None:
    assert len(paired(write("a", [case(0)], prompt="bare"), write("b", [case(0)], prompt="r1"))) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"benchmark": "sha256:other"}, "benchmark differs in digest"),
        ({"engine": "vllm"}, "backend differs in engine"),
        ({"version": "5.22.0"}, "backend differs in version"),
        ({"dtype": "bfloat16"}, "backend differs in dtype"),
        ({"decoding": {"samples": 4}}, "backend differs in decoding"),
    ],
)
def test_what_was_measured_otherwise_is_refused_unless_it_is_wanted(
    write: Write, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=f"cannot be compared: their {named}"):
        paired(write("a", [case(0)]), write("b", [case(0)], **change))
    assert len(paired(tmp_path / "a", tmp_path / "b", anyway=True)) == 1


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([0, 1], [0], "same questions"),
        ([0], [0, 1], "same questions"),
        ([0, 1], [0, 2], "same questions"),
        ([0, 0], [0], "once each"),
        ([0], [0, 0], "once each"),
        ([], [], "no cases"),
    ],
)
def test_other_questions_are_refused(write: Write, a: list[int], b: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired(write("a", [case(n) for n in a]), write("b", [case(n) for n in b]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: this is no case"),
        ("{}", "line 2: this is no case"),
        ('{"question_id": "dog/1", "colour": "red"}', "unknown key 'colour'"),
        ("[1]", "line 2: this is no case"),
    ],
)
def test_a_broken_case_names_its_line(tmp_path: Path, line: str, message: str) -> None:
    write_cases(tmp_path, [case(0)])
    with (tmp_path / "cases.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=message):
        read_cases(tmp_path)


def test_a_folder_that_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no evaluation"):
        read_cases(tmp_path)
    with pytest.raises(InputError, match="no evaluation"):
        read_metrics(tmp_path / "absent")
    for content, message in (
        ("{", "not valid JSON"),
        ("[]", "not an evaluation's"),
        ('{"backend": {}}', "not an evaluation's"),
    ):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(InputError, match=message):
            read_metrics(tmp_path)
