"""Charts are pictures; what can be checked of them without eyes."""

import io

import pytest
from PIL import Image

from deepperception.artifacts import read_metrics
from deepperception.evaluation.charts import (
    LINE_COLOURS,
    SPLIT_COLOURS,
    Curve,
    accuracy_chart,
    category_chart,
    curve_chart,
    running_mean,
)


def colours(png: bytes) -> set:
    with Image.open(io.BytesIO(png)) as image:
        return {"#{:02x}{:02x}{:02x}".format(*colour[:3]) for _, colour in image.getcolors(1 << 24)}


@pytest.fixture
def scores(evaluations):
    return {label: read_metrics(folder)["official"] for label, folder in evaluations.items()}


def test_the_same_numbers_give_the_same_file(scores):
    assert accuracy_chart(scores) == accuracy_chart(scores)


def test_a_split_without_cases_is_left_out(scores):
    both = colours(accuracy_chart(scores))
    assert set(SPLIT_COLOURS.values()) <= both
    empty = {"cases": 0, "accuracy": None, "accuracy_ci95": [0.0, 1.0]}
    seen_only = colours(accuracy_chart({label: {**score, "unseen": empty} for label, score in scores.items()}))
    assert SPLIT_COLOURS["seen"] in seen_only
    assert SPLIT_COLOURS["unseen"] not in seen_only


def test_categories_have_a_colour_for_each_model(scores):
    assert set(LINE_COLOURS[: len(scores)]) <= colours(category_chart(scores))
    assert category_chart(scores) == category_chart(scores)
    partial = {**scores, "New": {**scores["Base"], "categories": {}}}
    category_chart(partial)


@pytest.mark.parametrize("name", ["名前", "$x_1", "a\nb", ""])
def test_any_name_can_stand_at_an_axis_or_in_a_legend(scores, name):
    accuracy_chart({name: scores["Base"]})
    curve_chart([Curve(name, [1, 2], [0.5, 0.4]), Curve("b", [1], [2.0])], title=name, unit="")


@pytest.mark.parametrize(
    ("values", "mean", "why"),
    [
        ([], [], "nothing"),
        ([3.0], [3.0], "one value"),
        (
            [float(n) for n in range(20)],
            [0.0, *[n - 0.5 for n in range(1, 20)]],
            "the last tenth, never what comes later",
        ),
    ],
)
def test_the_running_mean_looks_back_only(values, mean, why):
    assert running_mean(values) == pytest.approx(mean), why
