"""The whole stage: the files it leaves, that they can be made again byte for byte, and how it stops."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deepperception.artifacts.datasets import count_rows, read_rows
from deepperception.artifacts.stage import Context
from deepperception.errors import InputError
from deepperception.grounding import Sample
from deepperception.inference.engine import Decoding, Request
from deepperception.progress import Progress
from deepperception.synthesis import run as stage
from deepperception.synthesis import shards as shards_module
from deepperception.synthesis.config import SynthesisConfig
from deepperception.synthesis.pools import deal
from deepperception.synthesis.rows import FILES, RowMaker
from deepperception.synthesis.sources import SEVERAL, open_source

PHOTOS = Path(os.environ.get("DEEPPERCEPTION_SHARED", Path(__file__).parents[2].parent / "shared")) / "photos"
ROWS = {"sft": 12, "rl": 8, "validation": 8, "test": 10}


class NamingTeacher:
    """Says the target's line back."""

    def __init__(self, options: dict[str, Any], box_step: int) -> None:
        self.backend: dict[str, Any] = {"engine": "naming"}

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
        for request in requests:
            line = next(line for line in request.text.splitlines() if line.startswith("Target: "))
            yield [f"It is {line.removeprefix('Target: ')}"]


@pytest.fixture(autouse=True)
def naming_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "open_teacher", lambda config, box_step: NamingTeacher(config.options, box_step))


def settings(root: Path, **changes: Any) -> SynthesisConfig:
    base = {
        "source": {"path": root},
        "seen": ["owl"],
        "rows": ROWS,
        "candidates": {2: 1, 3: 1},
        "canvas": {"max_side": 96},
    }
    return SynthesisConfig.model_validate(base | changes)


def context(seed: int = 0, stream: io.StringIO | None = None) -> Context:
    return Context(seed=seed, progress=Progress("synthesis", stream or io.StringIO()), recipe_hash="r", inputs={})


def rows_in(folder: Path, name: str) -> list[Sample]:
    return list(read_rows(folder / f"{name}.parquet"))


def test_the_files_hold_what_the_settings_ask_for(photo_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    manifest = stage.run(settings(photo_root), out, context(), box_step=25)
    files = {path.name for path in out.iterdir()}
    assert files == {"card.json", "contact_sheet.png", "manifest.json"} | {f"{name}.parquet" for name in FILES}
    assert manifest.kind == "dataset"
    assert manifest.counts == {"photos": 48, **ROWS}
    assert manifest.backend == {"teacher": {"engine": "naming"}}
    used: dict[str, set[str]] = {}
    for name, split in FILES.items():
        samples = rows_in(out, name)
        assert len(samples) == ROWS[name]
        assert len({sample.question_id for sample in samples}) == len(samples)
        assert {sample.split for sample in samples} == {split}
        assert {sample.seen for sample in samples} == ({True} if split == "train" else {True, False})
        assert all(sample.seen == (sample.category == "owl") for sample in samples)
        assert all((sample.reasoning is not None) == (name == "sft") for sample in samples)
        used.setdefault(split, set()).update(source.id for sample in samples for source in sample.sources)
    assert sum(sample.seen for sample in rows_in(out, "test")) == 5, "half and half"
    for one, other in itertools.combinations(used.values(), 2):
        assert not one & other, "a photo is in one split only"


def test_a_row_asks_for_one_of_its_objects_in_whole_thousandths(photo_root: Path, tmp_path: Path) -> None:
    stage.run(settings(photo_root), tmp_path / "data", context(), box_step=25)
    for sample in rows_in(tmp_path / "data", "sft"):
        boxes = {thing.entity: thing.box for thing in sample.objects}
        assert len(boxes) == len(sample.objects) == len(sample.sources)
        assert boxes[sample.entity] == sample.target
        assert (
            sample.question
            == f"Find and give the bounding box of <|object_ref_start|>{sample.entity}<|object_ref_end|>"
        )
        assert all(corner == int(corner) for box in boxes.values() for corner in box.as_tuple())
        assert sample.question_id.split("/")[0] == sample.category
        picture = Image.open(io.BytesIO(sample.image))
        assert (picture.mode, max(picture.size) <= 96) == ("RGB", True)
        assert sample.reasoning == f"It is {sample.entity}: {sample.target.rounded(25).text()}", "in the model's steps"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes(photo_root: Path, tmp_path: Path) -> None:
    config = settings(photo_root)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        stage.run(config, tmp_path / name, context(seed), box_step=1)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert not {name for name in first if name.endswith(".parquet") and first[name] == other[name]}


def test_a_row_is_made_from_its_number_alone(photo_root: Path) -> None:
    config = settings(photo_root)
    pools, _ = deal(open_source(config.source, 0).photos(), config, seed=0)
    maker = RowMaker(config, pools, seed=0)
    in_order = list(itertools.islice(maker.rows("test"), 6))
    backwards = [maker.row("test", index) for index in reversed(range(6))]
    assert in_order == backwards[::-1]
    assert maker.row("sft", 0).sample.image != maker.row("rl", 0).sample.image, "files of a split differ"


def test_a_finished_folder_is_used_again_until_a_photo_changes(photo_root: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    config, out = settings(photo_root), tmp_path / "data"
    first = stage.run(config, out, context(), box_step=1)
    before = (out / "sft.parquet").stat().st_mtime_ns
    assert stage.run(config, out, context(stream=said), box_step=1) == first
    assert "reusing" in said.getvalue()
    assert (out / "sft.parquet").stat().st_mtime_ns == before
    xml = photo_root / "owl" / "barn_owl" / "00.xml"
    xml.write_text(xml.read_text().replace("<xmax>30", "<xmax>35"))
    assert stage.run(config, out, context(stream=said), box_step=1).inputs != first.inputs


def test_a_run_that_was_cut_off_starts_over_with_the_same_result(
    photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = settings(photo_root), io.StringIO()
    stage.run(config, tmp_path / "whole", context(), box_step=1)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "write_card", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.run(config, tmp_path / "cut", context(), box_step=1)
    assert not (tmp_path / "cut" / "manifest.json").exists()
    stage.run(config, tmp_path / "cut", context(stream=said), box_step=1)
    assert "it was cut off" in said.getvalue()
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_the_card_counts_rows_photos_and_what_was_left_out(
    photo_root: Path, tmp_path: Path, annotate: Callable[..., Path]
) -> None:
    box = (2, 3, 30, 20)
    annotate(photo_root / "owl" / "barn_owl", "two", objects=[("barn owl", box), ("barn owl", (1, 1, 9, 9))])
    said = io.StringIO()
    stage.run(
        settings(photo_root, source={"path": photo_root, "licence": "CC0-1.0"}),
        tmp_path / "d",
        context(0, said),
        box_step=1,
    )
    card = json.loads((tmp_path / "d" / "card.json").read_text())
    assert card["left_out"] == {SEVERAL: {"count": 1, "examples": ["owl/barn_owl/two.jpg"]}}
    assert "48 photos to compose, 1 left out: holds several boxes of its entity" in said.getvalue()
    assert sum(card["photos"].values()) == 48
    assert card["reasoning"] == {"asked": ROWS["sft"], "kept": ROWS["sft"], "refused": {}}
    test = card["files"]["test"]
    assert (test["rows"], test["seen"], test["unseen"]) == (10, 5, 5)
    assert test["categories"] == {"fern": 5, "owl": 5}
    for counts in (test["candidates"], test["layouts"], test["targets"]):
        assert sum(counts.values()) == 10
    assert set(test["licences"]) == {"CC0-1.0"}
    assert str(tmp_path) not in (tmp_path / "d" / "card.json").read_text(), "payloads hold no absolute paths"


def test_the_contact_sheet_marks_the_target(photo_root: Path, tmp_path: Path) -> None:
    stage.run(settings(photo_root), tmp_path / "data", context(), box_step=1)
    sheet = Image.open(tmp_path / "data" / "contact_sheet.png").convert("RGB")
    colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height) or []}
    assert {(214, 39, 40), (31, 119, 180)} <= colours


def test_bad_photos_stop_before_anything_is_touched(photo_root: Path, tmp_path: Path) -> None:
    config, out = settings(photo_root), tmp_path / "data"
    stage.run(config, out, context(), box_step=1)
    before = digests(out)
    for name in ("03", "05"):
        (photo_root / "fern" / "bracken" / f"{name}.jpg").write_text("no picture")
    with pytest.raises(
        InputError, match=r"03\.jpg: this is not a picture .* 1 more like it \(all are listed in .*\)\.$"
    ):
        stage.run(config, out, context(), box_step=1)
    listed = (tmp_path / "data.faults.txt").read_text().splitlines()
    assert [Path(line.split(":")[0]).name for line in listed] == ["03.jpg", "05.jpg"]
    assert digests(out) == before
    lenient = settings(photo_root, source={"path": photo_root, "skip_bad": True})
    assert stage.run(lenient, tmp_path / "lenient", context(), box_step=1).counts["photos"] == 46


def test_an_unknown_source_is_named_with_its_neighbour(photo_root: Path, tmp_path: Path) -> None:
    config = settings(photo_root, source={"kind": "folders"})
    with pytest.raises(InputError, match=r"synthesis\.source\.kind: there is no 'folders'; did you mean 'folder'\?"):
        stage.run(config, tmp_path / "data", context(), box_step=1)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"the shared example photos are not there ({PHOTOS})")
def test_real_photos_go_through(tmp_path: Path) -> None:
    config = SynthesisConfig.model_validate(
        {"source": {"path": PHOTOS, "category": "animal"}, "rows": {"sft": 4, "rl": 2, "validation": 2, "test": 2}}
    )
    manifest = stage.run(config, tmp_path / "data", context(), box_step=1)
    card = json.loads((tmp_path / "data" / "card.json").read_text())
    assert manifest.counts["photos"] + sum(reason["count"] for reason in card["left_out"].values()) == 300
    assert card["left_out"][SEVERAL]["count"] == 53


def test_whole_photos_are_marked_in_rows_and_card(photo_root: Path, tmp_path: Path) -> None:
    for number in range(8):
        (photo_root / "owl" / "barn_owl" / f"{number:02d}.xml").unlink()
    stage.run(
        settings(photo_root, source={"path": photo_root, "whole_image": True}), tmp_path / "d", context(), box_step=1
    )
    counts = json.loads((tmp_path / "d" / "card.json").read_text())["files"]["test"]["box_origins"]
    assert set(counts) == {"given", "whole image"}
    for sample in rows_in(tmp_path / "d", "test"):
        for thing, origin in zip(sample.objects, sample.box_origins, strict=True):
            assert origin == ("whole image" if thing.entity == "barn owl" else "given")


def test_large_files_become_folders_of_shards_with_the_same_rows(photo_root: Path, tmp_path: Path) -> None:
    whole, parted = settings(photo_root), settings(photo_root, rows_per_shard=5)
    stage.run(whole, tmp_path / "whole", context(), box_step=1)
    stage.run(parted, tmp_path / "parted", context(), box_step=1)
    names = {name: sorted(path.name for path in (tmp_path / "parted" / f"{name}.parquet").glob("*")) for name in FILES}
    assert names["sft"] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    assert names["rl"] == ["00000.parquet", "00001.parquet"]
    assert names["test"] == [], "a benchmark is one file"
    for name in FILES:
        assert rows_in(tmp_path / "parted", name) == rows_in(tmp_path / "whole", name)
        assert count_rows(tmp_path / "parted" / f"{name}.parquet") == ROWS[name]
    cards = [json.loads((tmp_path / each / "card.json").read_text()) for each in ("whole", "parted")]
    assert cards[0] == cards[1]
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "parted", "photos", "whole",
    ], "nothing is left beside the datasets"  # fmt: skip


def test_a_killed_run_keeps_its_shards_and_ends_at_the_same_digest(
    photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Steady(NamingTeacher):
        """Has nothing to say of rows about a barn owl."""

        asked = 0

        def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
            for replies in super().generate(requests, decoding):
                Steady.asked += 1
                yield [""] if replies[0].startswith("It is barn owl") else replies

    monkeypatch.setattr(stage, "open_teacher", lambda config, box_step: Steady(config.options, box_step))
    config, said = settings(photo_root, rows_per_shard=4), io.StringIO()
    first = stage.run(config, tmp_path / "whole", context(), box_step=1)
    asked, Steady.asked = Steady.asked, 0
    write, written = shards_module.write_rows, []

    def killed_in_the_third(path: Path, rows: Any) -> int:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        return write(path, rows)

    with monkeypatch.context() as patched:
        patched.setattr(shards_module, "write_rows", killed_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            stage.run(config, tmp_path / "cut", context(), box_step=1)
    again = stage.run(config, tmp_path / "cut", context(stream=said), box_step=1)
    assert "sft: 2 of 3 shards were there from a run that was cut off" in said.getvalue()
    assert again.digest == first.digest
    assert Steady.asked == asked, "what was asked is not asked again"
    card = json.loads((tmp_path / "cut" / "card.json").read_text())["reasoning"]
    assert card["kept"] == ROWS["sft"] and card["kept"] + sum(card["refused"].values()) == asked
    assert not (tmp_path / "cut.shards").exists()


def test_a_reply_is_asked_for_once_even_where_a_shard_is_cut_off(
    photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(NamingTeacher):
        """Stops the run at the seventh question, once."""

        questions: list[str] = []  # noqa: RUF012  # of all its instances

        def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
            for request, replies in zip(requests, super().generate(requests, decoding), strict=True):
                if len(Interrupted.questions) == 6 and not said.getvalue():
                    said.write("stopped")
                    raise KeyboardInterrupt
                Interrupted.questions.append(request.name)
                yield replies

    said = io.StringIO()
    monkeypatch.setattr(stage, "open_teacher", lambda config, box_step: Interrupted(config.options, box_step))
    config = settings(photo_root, rows_per_shard=10)
    with pytest.raises(KeyboardInterrupt):
        stage.run(config, tmp_path / "cut", context(), box_step=1)
    (journal,) = (tmp_path / "cut.shards").glob("*/*.replies")
    with journal.open("ab") as file:
        file.write(b'["half a line')  # as a kill in the middle of a write leaves it
    again = stage.run(config, tmp_path / "cut", context(stream=said), box_step=1)
    assert len(Interrupted.questions) == len(set(Interrupted.questions)) == ROWS["sft"]
    assert "teacher: 12 asked = 12 kept" in said.getvalue()
    assert again.digest == stage.run(config, tmp_path / "whole", context(), box_step=1).digest


def test_shards_of_other_settings_are_not_used(
    photo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(stage, "write_card", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stage.run(settings(photo_root), tmp_path / "cut", context(seed=1), box_step=1)
    said = io.StringIO()
    stage.run(settings(photo_root), tmp_path / "cut", context(stream=said), box_step=1)
    stage.run(settings(photo_root), tmp_path / "whole", context(), box_step=1)
    assert "were there" not in said.getvalue()
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_any_row_can_be_made_again_alone(photo_root: Path, tmp_path: Path) -> None:
    config = settings(photo_root)
    stage.run(config, tmp_path / "data", context(seed=3), box_step=1)
    for name in FILES:
        sample = rows_in(tmp_path / "data", name)[5]
        again = stage.remake(config, 3, name, int(sample.question_id.rsplit("/", 1)[1])).sample
        assert replace(again, reasoning=sample.reasoning) == sample
        assert hashlib.sha256(again.image).digest() == hashlib.sha256(sample.image).digest()
