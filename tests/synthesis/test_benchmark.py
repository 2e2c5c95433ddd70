"""A benchmark of the user's own photos."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deepperception.artifacts.datasets import read_rows
from deepperception.artifacts.stage import Context
from deepperception.errors import InputError
from deepperception.grounding import Sample
from deepperception.progress import Progress
from deepperception.synthesis.benchmark import run, seen_without
from deepperception.synthesis.config import SynthesisConfig

SPLITS = ("train", "validation", "test")


def config(root: Path, **settings: object) -> SynthesisConfig:
    rows = {"sft": 1, "rl": 24, "validation": 16, "test": 24}
    source = {"kind": "folder", "path": str(root)}
    shape = {"candidates": {2: 1, 3: 1}, "canvas": {"max_side": 120}}
    return SynthesisConfig.model_validate({"source": source, "rows": rows, **shape, **settings})


def made(config: SynthesisConfig, out: Path, seed: int = 0) -> dict[str, list[Sample]]:
    run(config, out, Context(seed=seed, progress=Progress("t", io.StringIO()), recipe_hash="sha256:0", inputs={}))
    return {split: list(read_rows(out / f"{split}.parquet")) for split in SPLITS if (out / f"{split}.parquet").exists()}


def photos_of(rows: list[Sample]) -> set[str]:
    return {source.id for row in rows for source in row.sources}


def test_no_photo_is_in_two_splits_and_every_category_in_each(photo_root: Path, tmp_path: Path) -> None:
    rows = made(config(photo_root), tmp_path / "one")
    for a, b in itertools.combinations(SPLITS, 2):
        assert not photos_of(rows[a]) & photos_of(rows[b])
    assert {split: {row.category for row in rows[split]} for split in SPLITS} == {
        key: {"owl", "fern"} for key in SPLITS
    }
    assert all(row.split == split and row.seen for split in SPLITS for row in rows[split])
    card = json.loads((tmp_path / "one" / "card.json").read_text())
    assert card["files"]["test"]["categories"] == {"fern": 12, "owl": 12}
    assert card["photos"]["test"] == {"fern": {"seen": 6, "unseen": 0}, "owl": {"seen": 6, "unseen": 0}}
    again, other = tmp_path / "two", tmp_path / "three"
    made(config(photo_root), again), made(config(photo_root), other, seed=1)
    test = "test.parquet"
    assert (again / test).read_bytes() == (tmp_path / "one" / test).read_bytes() != (other / test).read_bytes()


def test_what_is_held_out_is_never_trained_on(photo_root: Path, tmp_path: Path) -> None:
    seen = seen_without(["fern"], config(photo_root), 0)
    rows = made(config(photo_root, seen=seen, unseen_entities=["snowy owl"]), tmp_path / "out")
    assert all("snowy_owl" not in photo and "fern" not in photo for photo in photos_of(rows["train"]))
    for split in ("validation", "test"):
        unseen = [row for row in rows[split] if not row.seen]
        assert {row.category for row in unseen} == {"owl", "fern"}
        assert {row.entity for row in unseen if row.category == "owl"} == {"snowy owl"}
        assert {row.entity for row in rows[split] if row.seen} == {"barn owl", "eagle owl"}
        assert all(len(row.objects) == len({thing.entity for thing in row.objects}) for row in rows[split])
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["held_out"] == {"categories": ["fern"], "entities": ["snowy owl"]}


def test_a_category_without_photos_enough_is_left_out_and_named(
    photo_root: Path, tmp_path: Path, annotate: Callable[..., Path]
) -> None:
    for entity in ("oak", "elm"):
        for number in range(2):
            colour = (200, 90 if entity == "oak" else 40, number * 50)
            annotate(photo_root / "tree" / entity, str(number), colour=colour, objects=[(entity, (1, 1, 20, 20))])
    rows = made(config(photo_root), tmp_path / "out")
    assert {row.category for row in rows["test"]} == {"owl", "fern"}
    left_out = json.loads((tmp_path / "out" / "card.json").read_text())["left_out"]
    assert left_out["is of an entity with too few photos to be in every split"]["count"] == 4


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"unseen_entities": ["snowy ovl"]}, r"no entity 'snowy ovl' among the photos; did you mean 'snowy owl'"),
        ({"seen": ["ovl"]}, r"no category 'ovl' among the photos; did you mean 'owl'"),
    ],
)
def test_names_that_are_not_there_are_refused(photo_root: Path, tmp_path: Path, settings: dict, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        made(config(photo_root, **settings), tmp_path / "out")


def test_unseen_categories_are_named_as_they_are(photo_root: Path) -> None:
    with pytest.raises(InputError, match="--unseen: there is no category 'oak'; there are: fern, owl"):
        seen_without(["oak"], config(photo_root), 0)
    with pytest.raises(InputError, match="every category is held out"):
        seen_without(["owl", "fern"], config(photo_root), 0)
