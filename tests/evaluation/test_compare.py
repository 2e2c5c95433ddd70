"""Two evaluations, case by case."""

import io
import shutil

import pytest
from rich.console import Console

from deepperception.artifacts import read_cases, read_metrics
from deepperception.errors import InputError
from deepperception.evaluation.compare import compare, comparison_table
from deepperception.evaluation.table import render_table
from deepperception.statistics import mcnemar_exact


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()


def test_gains_are_b_minus_a_on_the_same_cases(evaluations):
    base, better = evaluations["Base"], evaluations["CoT-SFT"]
    result = compare(base, better)
    assert list(result) == ["all", "seen", "unseen"]
    row = result["all"]
    right_a, right_b = ({case.question_id for case in read_cases(folder) if case.correct} for folder in (base, better))
    assert (row.only_a, row.only_b) == (len(right_a - right_b), len(right_b - right_a))
    assert row.gain == pytest.approx(row.accuracy_b - row.accuracy_a) == pytest.approx((row.only_b - row.only_a) / 48)
    assert row.gain_ci95[0] < row.gain < row.gain_ci95[1]
    assert row.p == mcnemar_exact(row.only_a, row.only_b)
    assert row.cases == result["seen"].cases + result["unseen"].cases == 48
    assert compare(better, base)["all"].gain == -row.gain


def test_the_same_evaluation_has_no_gain(evaluations):
    row = compare(evaluations["GRPO"], evaluations["GRPO"])["all"]
    assert (row.gain, row.gain_ci95, row.p) == (0, (0, 0), 1)


def test_unlike_evaluations_are_refused(evaluations, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(evaluations["GRPO"], other)
    text = (other / "metrics.json").read_text()
    (other / "metrics.json").write_text(text.replace('"float32"', '"bfloat16"'))
    with pytest.raises(InputError, match="dtype"):
        compare(evaluations["Base"], other)


def test_the_tables_show_every_model_and_split(evaluations):
    shown = printed(comparison_table(compare(evaluations["Base"], evaluations["GRPO"]), label_a="base", label_b="grpo"))
    assert "A = base" in shown and "B = grpo" in shown
    assert [line.split()[0] for line in shown.splitlines()[-4:] if line.strip()] == ["all", "seen", "unseen"]

    table = printed(render_table({label: read_metrics(folder) for label, folder in evaluations.items()}))
    for label, folder in evaluations.items():
        score = read_metrics(folder)["official"]["unseen"]
        (line,) = [line for line in table.splitlines() if f" {label} " in line]
        assert f"{100 * score['accuracy']:.1f} % ({100 * score['accuracy_ci95'][0]:.1f}-" in line
    assert "unseen (24 cases)" in table
