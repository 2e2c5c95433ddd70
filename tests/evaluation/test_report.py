"""The report of a run."""

import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from deepperception.artifacts import read_cases, read_manifest
from deepperception.errors import InputError
from deepperception.evaluation.gallery import choose
from deepperception.evaluation.published import published
from deepperception.evaluation.report import Arm, Inputs, Promotion, run, write_report

from .conftest import evaluated, make_context

DECISION = {
    "promote": True,
    "reason": "better",
    "cases": 48,
    "candidate_accuracy": 0.75,
    "champion_accuracy": 0.25,
    "only_candidate": 26,
    "only_champion": 2,
    "gain": 0.5,
    "gain_ci95": [0.4, 0.6],
    "p": 3.2e-6,
}


def counts(rows: int, unseen: int) -> dict:
    return {
        "rows": rows,
        "seen": rows - unseen,
        "unseen": unseen,
        "photos_used": 40,
        "categories": {"blobs": rows},
        "targets": {"Tavel": rows},
        "candidates": {"3": rows - 1, "4": 1},
        "layouts": {"grid": rows},
        "licences": {"CC0-1.0": rows},
    }


@pytest.fixture(scope="module")
def inputs(evaluations, benchmark, tmp_path_factory) -> Inputs:
    dataset = tmp_path_factory.mktemp("dataset")
    card = {
        "files": {"sft": counts(1234, 0), "test": counts(48, 24)},
        "photos": {"train": 120, "test": 40},
        "left_out": {"several boxes of its entity": {"count": 3, "examples": ["a.jpg"]}},
        "reasoning": {"kept": 1234, "refused": {"too long": 5}},
    }
    (dataset / "card.json").write_text(json.dumps(card))
    return Inputs(
        name="a recipe",
        seed=7,
        arms=[Arm(label, folder, folder.parent / "model") for label, folder in evaluations.items()],
        shown="GRPO",
        benchmark=benchmark,
        dataset=dataset,
        promotion=Promotion("promoted", "it is better", "GRPO", 2, "sha256:" + "ab" * 32, {"decision": DECISION}),
    )


@pytest.fixture(scope="module")
def rendered(inputs, tmp_path_factory):
    """The finished report's folder."""
    out = tmp_path_factory.mktemp("report") / "out"
    run(inputs, out, make_context())
    return out


class Page(HTMLParser):
    """The text of a page, its pictures, and whether every tag that opens also closes."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.pictures, self.open, self.tags = "", [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text = re.sub(r"\s+", " ", f"{self.text} {data}")


def test_the_page_needs_nothing_beside_it_and_tells_everything(rendered):
    html = (rendered / "report.html").read_text()
    page = Page(html)
    assert all(picture["src"].startswith("data:image/png;base64,") and picture["alt"] for picture in page.pictures)
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import""", html)
    assert "script" not in page.tags
    assert len(page.pictures) == 4 + 12
    for told in (
        "a recipe", "Direct SFT", "promoted", "it is better", "+50.0 points", "p = 3.2e-06", "1,234", "steps 60",
        "several boxes of its entity", "5 refused: too long", "boxed the", "A Vudar is", "no box in the reply",
        "was asked for",
    ):  # fmt: skip
        assert told in page.text, told


def test_the_pictures_lie_beside_it(rendered):
    assert {path.name for path in rendered.glob("*.png")} == {
        "accuracy.png",
        "categories.png",
        "loss.png",
        "reward.png",
        "predictions.png",
    }
    drawn = sorted(path.name for path in (rendered / "predictions").iterdir())
    assert len(drawn) == 12
    assert [name.split("-")[1] for name in drawn] == ["right"] * 6 + ["wrong"] * 6
    for path in rendered.rglob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) >= 400, path.name


def test_the_same_inputs_give_the_same_files(inputs, rendered, tmp_path):
    assert run(inputs, tmp_path / "again", make_context()) == read_manifest(rendered)


def test_what_is_not_there_is_left_out(evaluations, benchmark, tmp_path):
    bare = Inputs("x", 0, [Arm("Base", evaluations["Base"])], shown="Base", benchmark=benchmark)
    write_report(bare, tmp_path)
    text = Page((tmp_path / "report.html").read_text()).text
    assert "12 predictions of Base" in text
    assert not any(heading in text for heading in ("What was promoted", "What was made", "Training", "points over"))


def test_what_a_model_writes_is_text_and_never_markup(evaluations, benchmark, tmp_path):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    lines = (evaluations["Base"] / "cases.jsonl").read_text().splitlines()
    cases = [{**json.loads(line), "text": f"<think>{attack}</think>"} for line in lines]
    (evaluation / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (evaluation / "metrics.json").write_bytes((evaluations["Base"] / "metrics.json").read_bytes())
    (tmp_path / "out").mkdir()
    write_report(Inputs(attack, 0, [Arm(attack, evaluation)], shown=attack, benchmark=benchmark), tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "script" not in page.tags
    assert not any("onerror" in picture for picture in page.pictures)
    assert page.text.count("alert(1)") > 12


def test_an_arm_that_is_none_cannot_be_shown(inputs, tmp_path):
    with pytest.raises(InputError, match="'Gold', which is none of Base, Direct SFT"):
        write_report(Inputs("x", 0, inputs.arms, "Gold", inputs.benchmark), tmp_path)


def test_right_and_wrong_seen_and_unseen_take_turns(evaluations):
    chosen = choose(read_cases(evaluations["CoT-SFT"]))
    kinds = [(case.correct, case.seen) for case in chosen]
    assert kinds == [(True, True)] * 3 + [(True, False)] * 3 + [(False, True)] * 3 + [(False, False)] * 3
    assert len({case.question_id for case in chosen}) == 12
    assert len({case.category for case in chosen[:6]}) == 6


def test_few_cases_are_all_shown(evaluations):
    cases = read_cases(evaluations["GRPO"])
    right = [case for case in cases if case.correct]
    assert choose(cases[:5]) and len(choose(cases[:5])) == 5
    assert len(choose(right)) == 12, "where nothing is wrong, right ones fill the places"
    assert choose([]) == []


def test_a_report_of_a_perfect_model_can_be_drawn(benchmark, tmp_path, monkeypatch):
    monkeypatch.setitem(evaluated.__globals__["ARMS"], "Base", {"seen": 1.0, "unseen": 1.0})
    folder = evaluated(tmp_path / "perfect", benchmark, "Base")
    (tmp_path / "out").mkdir()
    shown = write_report(Inputs("x", 0, [Arm("Base", folder)], "Base", benchmark), tmp_path / "out")
    assert [card.verdict for card in shown] == ["right, IoU 1.00"] * 12


def test_published_figures_stand_in_a_section_of_their_own_on_their_benchmark_only(
    inputs, rendered, tmp_path, monkeypatch
):
    assert "arXiv 2503.12797" not in (rendered / "report.html").read_text()
    monkeypatch.setattr("deepperception.evaluation.report.published_for", lambda metrics: published())
    write_report(inputs, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert "not measured here" in page.text
    assert page.text.index("68.41 %") > page.text.index("not measured here") > page.text.index("tolerant reading")
