"""`check`: what a run would refuse before its first picture is refused here, and what it would leave out is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from deepperception.cli import cli

VOC = (
    "<annotation><object><name>{}</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
    "</object></annotation>"
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two entities of six photos each."""
    grain = np.random.default_rng(0)
    for entity in ("raccoon", "kangaroo"):
        folder = tmp_path / "photos" / entity
        folder.mkdir(parents=True)
        for number in range(6):
            picture = folder / f"{number}.jpg"
            Image.fromarray(grain.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(picture)
            picture.with_suffix(".xml").write_text(VOC.format(entity))
    return tmp_path / "photos"


def check(photos: Path, *settings: str) -> Result:
    options = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(cli, ["check", "photos", "--source", str(photos), *options])


def test_fine_photos_are_counted(photos: Path) -> None:
    result = check(photos)
    assert result.exit_code == 0, result.output
    assert "fine" in result.output
    assert "12 photos" in result.output


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("synthesis.teacher.kind=nope", "synthesis.teacher.kind: there is no 'nope'"),
        ("synthesis.teacher.options={temper: 1}", "synthesis.teacher.options"),
        ("synthesis.seen=[nothere]", "synthesis.seen: there is no category 'nothere'"),
        ("synthesis.candidates={5: 1}", "synthesis.candidates: a picture should hold at least 5 entities"),
        ("synthesis.canvas={rescale: false, cell: 39}", "synthesis.canvas.cell: a cell of 39 px cannot hold"),
        ("model.base=/no/such/folder", "/no/such/folder"),
    ],
)
def test_what_a_run_would_refuse_is_refused(photos: Path, setting: str, says: str) -> None:
    result = check(photos, setting)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "fine" not in result.output


def test_what_is_left_out_is_named(photos: Path) -> None:
    for number in range(4):
        (photos / "raccoon" / f"more{number}.gif").write_bytes(b"GIF89a")
    (photos / "raccoon" / "0.jpg").replace(photos / "loose.jpg")
    lines = check(photos).output.splitlines()
    assert "  left out, is a picture outside an entity's folder and its images/: 1 (loose.jpg)" in lines
    assert "  left out, is an annotation that no photo uses: 1 (raccoon/0.xml)" in lines
    assert [line for line in lines if "raccoon/more0.gif, raccoon/more1.gif, raccoon/more2.gif, ..." in line]


def test_it_writes_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    before = sorted(photos.parent.rglob("*"))
    assert check(photos).exit_code == 0
    assert sorted(photos.parent.rglob("*")) == before
