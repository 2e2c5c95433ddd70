"""Multiple-choice rows from folders of photos."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deepperception.artifacts.choice_rows import holds_choices, read_choices
from deepperception.artifacts.stage import Context
from deepperception.errors import InputError
from deepperception.progress import Progress
from deepperception.synthesis.config import SynthesisConfig
from deepperception.synthesis.run import run

ROWS = {"sft": 30, "rl": 10, "validation": 12, "test": 100}


def context(seed: int = 0) -> Context:
    return Context(seed=seed, progress=Progress("t", io.StringIO()), recipe_hash="sha256:0", inputs={})


def config(root: Path, **settings: object) -> SynthesisConfig:
    source = {"kind": "folder", "path": str(root)}
    return SynthesisConfig.model_validate({"questions": "choices", "source": source, "rows": ROWS, **settings})


@pytest.fixture
def photos(tmp_path: Path, annotate: Callable[..., Path]) -> Path:
    """Owls of five kinds without a single box, and ferns of three."""
    root = tmp_path / "photos"
    for category, kinds in {"owl": 5, "fern": 3}.items():
        for kind in range(kinds):
            for number in range(10):
                colour = (20 * kind + 10, 24 * number, 200 if category == "owl" else 20)
                annotate(root / category / f"{category}_{kind}", f"{number}", colour=colour).with_suffix(
                    ".xml"
                ).unlink()
    return root


def test_rows_need_no_boxes_and_name_what_is_left_out(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    run(config(photos), out, context(), box_step=1)
    rows = {name: list(read_choices(out / f"{name}.parquet")) for name in ROWS}
    assert {name: len(found) for name, found in rows.items()} == {**ROWS, "validation": 10, "test": 10}, "none twice"
    test_photos = [row.sources[0].id for row in rows["test"]]
    assert len(set(test_photos)) == 10
    for row in rows["sft"]:
        assert row.split == "train" and row.reasoning and len(set(row.choices)) == 4
        assert row.sources[0].id.split("/")[1] == row.entity.replace(" ", "_"), "the answer is the folder's name"
        assert row.sources[0].id not in test_photos
    assert {row.answer for row in rows["sft"]} == set("ABCD"), "the right one is at no fixed place"
    card = json.loads((out / "card.json").read_text())
    assert card["left_out"]["is of a category with too few entities left ('fern' has 3, 4 are needed)"]["count"] == 30
    assert card["files"]["test"] == {"rows": 10, "seen": 10, "unseen": 0, "categories": {"owl": 10}}
    assert holds_choices(out / "test.parquet")


def test_the_seed_decides_and_nothing_else(photos: Path, tmp_path: Path) -> None:
    one, two, three = (
        run(config(photos), tmp_path / name, context(seed), box_step=1).digest
        for name, seed in (("one", 0), ("two", 0), ("three", 1))
    )
    assert one == two != three


def test_nothing_left_to_train_on_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no category is left to train on"):
        run(config(photos, seen=["fern"]), tmp_path / "data", context(), box_step=1)
