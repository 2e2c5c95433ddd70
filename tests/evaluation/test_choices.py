"""Scores on multiple choice."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from PIL import Image

from deepperception.artifacts import read_metrics
from deepperception.artifacts.choice_cases import read_choice_cases
from deepperception.artifacts.choice_rows import write_choices
from deepperception.errors import InputError
from deepperception.evaluation.choices import evaluate_model_on_choices, evaluate_predictions_on_choices
from deepperception.evaluation.compare import compare
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.page import PAGE, page_writer
from deepperception.grounding import LETTERS, ChoiceSample, choice_question

from .conftest import make_checkpoint, make_context


def row(number: int) -> ChoiceSample:
    rng = random.Random(number)
    names = tuple(rng.sample(["Tavel", "Mirop", "Dankin", "Vudar", "<b>Zilar</b>"], 4))
    buffer = io.BytesIO()
    Image.new("RGB", (56, 56), (rng.randrange(255), 90, number)).save(buffer, "PNG")
    category = ("blobs", "stars")[number % 2]
    return ChoiceSample(
        question_id=f"{category}/{number}",
        category=category,
        question=choice_question(category, names),
        choices=names,
        answer=rng.choice(LETTERS),
        image=buffer.getvalue(),
        seen=category == "blobs",
    )


ROWS = [row(number) for number in range(20)]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("choices") / "test.parquet"
    write_choices(path, ROWS)
    return path


def predictions(path: Path, texts: dict[str, str]) -> Path:
    lines = [json.dumps({"question_id": name, "text": text}) for name, text in texts.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def right(each: ChoiceSample) -> str:
    return f"<think>so</think><answer>{each.answer}</answer>"


def scored(benchmark: Path, out: Path, texts: dict[str, str]) -> dict:
    file = predictions(out.with_suffix(".jsonl"), texts)
    finish = page_writer("made up", benchmark)
    evaluate_predictions_on_choices(benchmark, file, out, make_context(), finish=finish)
    return read_metrics(out)


def test_letters_are_scored_by_category_and_their_forms_counted(benchmark: Path, tmp_path: Path) -> None:
    texts = {each.question_id: right(each) for each in ROWS}
    texts[ROWS[0].question_id] = f"<answer>{ROWS[0].entity}</answer>"
    texts[ROWS[2].question_id] = "<answer>none of them</answer>"
    del texts[ROWS[1].question_id]
    texts["cow/1"] = "A"
    metrics = scored(benchmark, tmp_path / "out", texts)
    official, robust = metrics["official"], metrics["robust"]
    assert metrics["kind"] == "choices"
    assert (metrics["predictions"]["missing"], metrics["predictions"]["unknown"]) == (1, 1)
    assert [official[split]["correct"] for split in ("all", "seen", "unseen")] == [17, 8, 9]
    assert official["categories"]["blobs"]["accuracy"] == 0.8
    low, high = official["categories"]["blobs"]["accuracy_ci95"]
    assert 0.4 < low < 0.8 < high < 1
    assert robust["all"]["correct"] == 18, "a name is read tolerantly"
    assert robust["forms"] == {"letter": 17, "missing": 1, "name": 1, "none": 1}
    assert read_choice_cases(tmp_path / "out")[0].chosen == ROWS[0].entity
    page = (tmp_path / "out" / PAGE).read_text()
    assert "&lt;b&gt;Zilar" in page and "<b>Zilar" not in page


def test_two_evaluations_are_compared_question_by_question(benchmark: Path, tmp_path: Path) -> None:
    all_right = {each.question_id: right(each) for each in ROWS}
    scored(benchmark, tmp_path / "a", {name: "<answer>A</answer>" for name in all_right})
    scored(benchmark, tmp_path / "b", all_right)
    result = compare(tmp_path / "a", tmp_path / "b")["all"]
    assert (result.accuracy_b, result.only_a) == (1.0, 0)
    assert result.only_b == sum(each.answer != "A" for each in ROWS)


class Thinker:
    """Always right, and remembers how it was asked."""

    def __init__(self) -> None:
        self.backend = {"engine": "made-up", "version": "1", "dtype": "float32"}
        self.texts: list[str] = []

    def __call__(self, folder, *, max_pixels, batch_size):
        return self

    def generate(self, requests, decoding):
        for request in requests:
            self.texts.append(request.text)
            yield [right(next(each for each in ROWS if each.image == request.image))]


def test_a_thinking_model_is_asked_to_think_and_not_for_a_box(benchmark: Path, tmp_path: Path) -> None:
    engine, model = Thinker(), make_checkpoint(tmp_path / "model", "r1")
    config = EvaluationConfig(batch_size=7)
    evaluate_model_on_choices(config, benchmark, model, tmp_path / "out", make_context(), open_engine=engine)
    assert len(engine.texts) == 20
    assert all("</answer> tags" in text and "bounding box" not in text for text in engine.texts)
    metrics = read_metrics(tmp_path / "out")
    assert metrics["official"]["all"]["accuracy"] == 1
    assert metrics["backend"]["prompt"] == "fgvr"


@pytest.mark.parametrize(
    "lines, complaint",
    [
        ('{"question_id": "blobs/0"}', "row 1: 'text' is missing"),
        (
            '{"question_id": "blobs/0", "text": "A"}\n{"question_id": "blobs/0", "text": "B"}',
            "row 2: .*in row 1 already",
        ),
        ("{", "row 1: this is not JSON"),
    ],
)
def test_predictions_that_cannot_be_scored_are_refused(
    benchmark: Path, tmp_path: Path, lines: str, complaint: str
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(lines + "\n")
    with pytest.raises(InputError, match=complaint):
        evaluate_predictions_on_choices(benchmark, file, tmp_path / "out", make_context())


def test_a_question_that_comes_twice_is_refused(tmp_path: Path) -> None:
    write_choices(tmp_path / "twice.parquet", [ROWS[0], ROWS[0]])
    texts = predictions(tmp_path / "p.jsonl", {ROWS[0].question_id: "A"})
    with pytest.raises(InputError, match="comes twice"):
        evaluate_predictions_on_choices(tmp_path / "twice.parquet", texts, tmp_path / "out", make_context())
