"""Folders of photos: the layouts that are read, what is left out, and what stops the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deepperception.errors import InputError
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.folder import (
    MISPLACED,
    UNKNOWN,
    UNUSED,
    FolderSource,
)
from deepperception.synthesis.labels import RESPELT, TWO_CATEGORIES
from deepperception.synthesis.sources import ANOTHER, FAULTY, SEVERAL, TWICE, WHOLE_IMAGE, FaultyPhotos, Photo

BOX = (2, 3, 30, 20)


def source(root: Path, **settings: object) -> FolderSource:
    return FolderSource(SourceConfig.model_validate({"path": root, **settings}), seed=0)


def photos(root: Path, **settings: object) -> list[Photo]:
    return list(source(root, **settings).photos())


def test_categories_of_entities(photo_root: Path) -> None:
    found = photos(photo_root)
    assert len(found) == 48
    assert {(photo.category, photo.entity) for photo in found} == {
        ("fern", "bracken"),
        ("fern", "maidenhair"),
        ("fern", "royal fern"),
        ("owl", "barn owl"),
        ("owl", "eagle owl"),
        ("owl", "snowy owl"),
    }
    first = found[0]
    assert (first.id, first.box, first.size) == ("fern/bracken/00.jpg", (2, 3, 31, 20), (40, 30))
    assert first.load().size == first.size
    assert [photo.id for photo in found] == sorted(photo.id for photo in found)


def test_entities_of_one_category_with_images_and_annotations(photo_root: Path) -> None:
    for entity in (photo_root / "owl").iterdir():
        for kind, suffix in (("images", ".jpg"), ("annotations", ".xml")):
            (entity / kind).mkdir()
            for file in entity.glob(f"*{suffix}"):
                file.rename(entity / kind / file.name)
    found = photos(photo_root / "owl", category="bird")
    assert len(found) == 24
    assert {photo.category for photo in found} == {"bird"}
    assert found[0].id == "barn_owl/images/00.jpg"


def test_names_may_be_written_differently_in_folder_and_annotation(
    tmp_path: Path, annotate: Callable[..., Path]
) -> None:
    annotate(tmp_path / "Boeing_747-400", "a", objects=[("boeing 747 400", BOX)])
    annotate(tmp_path / "Il-62", "a", colour=(1, 2, 3), objects=[("IL-62", BOX), ("person", BOX)])
    assert [photo.entity for photo in photos(tmp_path, category="aircraft")] == ["Boeing 747-400", "Il-62"]


def test_sound_photos_that_cannot_be_used_are_left_out_and_counted(
    photo_root: Path, annotate: Callable[..., Path]
) -> None:
    barn = photo_root / "owl" / "barn_owl"
    annotate(barn, "two", objects=[("barn owl", BOX), ("barn owl", (1, 1, 9, 9))])
    annotate(barn, "both", objects=[("barn owl", BOX), ("snowy owl", (1, 1, 9, 9))])
    for suffix in (".jpg", ".xml"):
        shutil.copy(barn / f"00{suffix}", barn / f"copy{suffix}")
    folder = source(photo_root)
    assert len(list(folder.photos())) == 48
    assert folder.report() == {
        ANOTHER: {"count": 1, "examples": ["owl/barn_owl/both.jpg"]},
        SEVERAL: {"count": 1, "examples": ["owl/barn_owl/two.jpg"]},
        TWICE: {"count": 1, "examples": ["owl/barn_owl/copy.jpg"]},
    }


def test_no_file_is_passed_over_in_silence(photo_root: Path, tmp_path: Path) -> None:
    barn = photo_root / "owl" / "barn_owl"
    (barn / "more").mkdir()
    for place in (photo_root, photo_root / "owl", barn / "more"):
        shutil.copy(barn / "00.jpg", place / "m.JPG")
    for name in ("extra.gif", "extra.heic", "boxes.csv"):
        (barn / name).write_text("")
    (barn / "annotations").mkdir()
    (barn / "annotations" / "gone.xml").write_text("")
    for name in ("LICENSE", "LICENCE.txt", "README.md", ".DS_Store", "Thumbs.db", ".git/config.gif"):
        (photo_root / "fern" / name).parent.mkdir(exist_ok=True)
        (photo_root / "fern" / name).write_text("")
    (barn / "more" / "back").symlink_to(photo_root)
    folder = source(photo_root)
    assert len(list(folder.photos())) == 48
    assert folder.report() == {
        MISPLACED: {"count": 3, "examples": ["m.JPG", "owl/barn_owl/more/m.JPG", "owl/m.JPG"]},
        UNKNOWN: {
            "count": 3,
            "examples": ["owl/barn_owl/boxes.csv", "owl/barn_owl/extra.gif", "owl/barn_owl/extra.heic"],
        },
        UNUSED: {"count": 1, "examples": ["owl/barn_owl/annotations/gone.xml"]},
    }


def test_a_faulty_photos_annotation_is_not_counted_beside_it(photo_root: Path) -> None:
    truncate(photo_root / "owl" / "barn_owl" / "04.jpg")
    folder = source(photo_root, skip_bad=True)
    list(folder.photos())
    assert folder.report().keys() == {FAULTY}


def test_a_photo_that_is_left_out_need_not_be_whole(photo_root: Path, annotate: Callable[..., Path]) -> None:
    picture = annotate(photo_root / "owl" / "barn_owl", "two", objects=[("barn owl", BOX)] * 2)
    truncate(picture)
    folder = source(photo_root)
    assert len(list(folder.photos())) == 48
    assert folder.report()[SEVERAL]["count"] == 1


def truncate(picture: Path) -> None:
    picture.write_bytes(picture.read_bytes()[:-100])


def rewrite(old: str, new: str) -> Callable[[Path], None]:
    def change(picture: Path) -> None:
        xml = picture.with_suffix(".xml")
        text = xml.read_text()
        assert old in text
        xml.write_text(text.replace(old, new))

    return change


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("truncated JPEG", truncate, r"04\.jpg: the picture is damaged or cut off"),
    ("text named .jpg", lambda picture: picture.write_text("hello"), r"04\.jpg: this is not a picture"),
    ("empty file", lambda picture: picture.write_bytes(b""), r"04\.jpg: this is not a picture"),
    ("no annotation", lambda picture: picture.with_suffix(".xml").unlink(), r"04\.jpg: there is no annotation"),
    ("box outside", rewrite("<xmax>30", "<xmax>300"), r"04\.xml: the box .* outside its picture of 40 x 30"),
    ("box reversed", rewrite("<xmax>30", "<xmax>1"), r"04\.xml: the box .* is reversed"),
    ("other name", rewrite("barn owl", "tawny owl"), r"04\.xml: there is no box of 'barn owl', only of tawny owl"),
    ("broken XML", rewrite("</annotation>", ""), r"04\.xml: this is no well-formed XML"),
]


@pytest.mark.parametrize("name, spoil, says", FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_faulty_photo_stops_with_one_sentence_or_is_skipped(
    photo_root: Path, name: str, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(photo_root / "owl" / "barn_owl" / "04.jpg")
    with pytest.raises(InputError, match=says) as caught:
        photos(photo_root)
    assert "\n" not in str(caught.value)
    lenient = source(photo_root, skip_bad=True)
    assert len(list(lenient.photos())) == 47
    assert lenient.report() == {FAULTY: {"count": 1, "examples": ["owl/barn_owl/04.jpg"]}}


def test_several_faults_are_told_at_once(photo_root: Path) -> None:
    for name in ("02", "05", "06"):
        truncate(photo_root / "owl" / "barn_owl" / f"{name}.jpg")
    with pytest.raises(FaultyPhotos, match=r"02\.jpg: .*; 2 more like it\.$") as caught:
        photos(photo_root)
    assert len(caught.value.faults) == 3
    assert caught.value.sentence("faults.txt").endswith("; 2 more like it (all are listed in faults.txt).")


def only(photo_root: Path, *keep: str) -> Path:
    for entity in photo_root.glob("*/*"):
        if entity.name not in keep:
            shutil.rmtree(entity)
    return photo_root


LAYOUT_FAULTS: list[tuple[str, Callable[[Path], Path], dict[str, str], str]] = [
    ("missing", lambda root: root / "gone", {}, r"gone: there is no such folder of photos"),
    ("empty", lambda root: only(root) / "owl", {}, "there are no photos in this folder"),
    ("empty, one category", lambda root: only(root) / "owl", {"category": "owl"}, "there are no photos in this folder"),
    ("empty category", lambda root: only(root), {}, "holds no entity folders"),
    (
        "single entity",
        lambda root: only(root, "barn_owl", "bracken", "maidenhair"),
        {},
        "'owl' has a single entity, 'barn owl'",
    ),
    ("category not named", lambda root: root / "owl", {}, "name it with synthesis.source.category"),
]


@pytest.mark.parametrize("name, arrange, settings, says", LAYOUT_FAULTS, ids=[fault[0] for fault in LAYOUT_FAULTS])
def test_folders_that_are_laid_out_otherwise(
    photo_root: Path, name: str, arrange: Callable[[Path], Path], settings: dict[str, str], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        photos(arrange(photo_root), **settings)
    assert "\n" not in str(caught.value)


def test_an_entity_without_photos_is_named(photo_root: Path) -> None:
    (photo_root / "owl" / "ghost_owl").mkdir()
    with pytest.raises(InputError, match="ghost_owl: this entity has no photos"):
        photos(photo_root)


def test_without_a_path_the_setting_is_named() -> None:
    with pytest.raises(InputError, match=r"synthesis\.source\.path is not set"):
        FolderSource(SourceConfig(), seed=0)


def test_the_licence_is_the_settings_or_the_nearest_file(photo_root: Path) -> None:
    (photo_root / "LICENSE").write_text("CC BY 4.0\n\nLong text")
    (photo_root / "owl" / "barn_owl" / "LICENSE.txt").write_text("\nMIT License\n")
    assert {photo.entity: photo.licence for photo in photos(photo_root) if photo.category == "owl"} == {
        "barn owl": "MIT License",
        "eagle owl": "CC BY 4.0",
        "snowy owl": "CC BY 4.0",
    }
    assert {photo.licence for photo in photos(photo_root, licence="CC0-1.0")} == {"CC0-1.0"}


def test_a_photo_without_an_annotation_may_be_all_of_one_thing(photo_root: Path) -> None:
    (photo_root / "owl" / "barn_owl" / "00.xml").unlink()
    with pytest.raises(InputError, match=r"00\.xml beside it, or say .* synthesis\.source\.whole_image\.$"):
        photos(photo_root)
    found = photos(photo_root, whole_image=True)
    assert len(found) == 48
    assert {photo.id: photo.box for photo in found if photo.box_origin == WHOLE_IMAGE} == {
        "owl/barn_owl/00.jpg": (0, 0, 40, 30)
    }


def test_folders_that_differ_in_case_alone_are_one_entity(photo_root: Path, annotate: Callable[..., Path]) -> None:
    annotate(photo_root / "owl" / "Barn_Owl", "a", objects=[("barn owl", BOX)])
    with pytest.raises(FaultyPhotos, match=r"the entity 'barn owl' is also written 'Barn Owl'; write it one way\."):
        photos(photo_root)
    folder = source(photo_root, skip_bad=True)
    found = list(folder.photos())
    assert len(found) == 49 and len({photo.entity for photo in found}) == 6
    assert folder.report() == {RESPELT: {"count": 1, "examples": ["owl/Barn_Owl/a.jpg"]}}


def test_a_folder_in_two_categories_is_told_or_left_out(photo_root: Path, annotate: Callable[..., Path]) -> None:
    annotate(photo_root / "fern" / "barn_owl", "a", objects=[("barn owl", BOX)])
    with pytest.raises(FaultyPhotos, match=r"'barn owl' is in 2 categories, 'fern' and 'owl'; keep it in one\."):
        photos(photo_root)
    folder = source(photo_root, skip_bad=True)
    assert len(list(folder.photos())) == 40
    assert folder.report()[TWO_CATEGORIES]["count"] == 9
