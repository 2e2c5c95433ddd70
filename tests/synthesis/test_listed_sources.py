"""Photos from listings and from published datasets, each a small tree of the dataset's own shape."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from deepperception.errors import InputError
from deepperception.synthesis.coco import CROWD
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.labels import LONELY, RESPELT, TWO_CATEGORIES, settle
from deepperception.synthesis.sources import ANOTHER, FAULTY, SEVERAL, TWICE, FaultyPhotos, Photo, open_source


def picture(seed: int, size: tuple[int, int] = (60, 40), *, orientation: int = 1, banner: int = 0) -> bytes:
    """A JPEG that no other seed has; its `banner` lowest rows are black."""
    grain = np.random.default_rng(seed).integers(60, 255, (size[1], size[0], 3), dtype=np.uint8)
    if banner:
        grain[-banner:] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(grain).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def opened(kind: str, path: Path, **config: Any) -> tuple[list[Photo], dict[str, Any]]:
    source = open_source(SourceConfig(kind=kind, path=path, **config), seed=0)
    return list(source.photos()), source.report()


def as_lines(photos: Sequence[Photo]) -> list[tuple[Any, ...]]:
    return [(p.id, p.category, p.entity, p.box, p.size, p.licence, p.box_origin) for p in photos]


CSV = """\ufeffpath,category,entity,x1,y1,x2,y2,licence,photographer
a/one.jpg,bird,barn owl,1,2,30,20,CC0-1.0,Ann
a/two.jpg,bird,hen harrier,0,0,60,40,,Ben
"""


def test_a_csv_names_photos_boxes_and_licences(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two")):
        write(tmp_path / "a" / f"{name}.jpg", picture(number))
    (tmp_path / "list.csv").write_text(CSV, encoding="utf-8")
    photos, left_out = opened("listing", tmp_path / "list.csv", licence="CC-BY-4.0")
    assert as_lines(photos) == [
        ("a/one.jpg", "bird", "barn owl", (1, 2, 30, 20), (60, 40), "CC0-1.0", "given"),
        ("a/two.jpg", "bird", "hen harrier", (0, 0, 60, 40), (60, 40), "CC-BY-4.0", "given"),
    ]
    assert left_out == {}
    assert photos[0].load().size == (60, 40)


@pytest.mark.parametrize("struct", [False, True])
def test_a_parquet_listing_may_hold_the_photos(tmp_path: Path, struct: bool) -> None:
    contents = [picture(0), picture(1, orientation=6), picture(2)]
    table = {
        "image": [{"bytes": content} for content in contents] if struct else contents,
        "species": ["barn owl", "hen harrier", "barn owl"],
        "x1": [1.0, None, 2],
        "y1": [2.0, None, 3],
        "x2": [30.0, None, 4],
        "y2": [20.0, None, 5],
    }
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    config = {"category": "bird", "whole_image": True, "options": {"entity": "species"}}
    photos, _ = opened("listing", tmp_path / "list.parquet", **config)
    assert as_lines(photos) == [
        ("list.parquet#1", "bird", "barn owl", (1, 2, 30, 20), (60, 40), "unknown", "given"),
        ("list.parquet#2", "bird", "hen harrier", (0, 0, 40, 60), (40, 60), "unknown", "whole image"),
        ("list.parquet#3", "bird", "barn owl", (2, 3, 4, 5), (60, 40), "unknown", "given"),
    ]
    assert [photo.load().size for photo in photos] == [photo.size for photo in photos]


@pytest.mark.parametrize(
    "change, told",
    [
        (("entity", "name"), "the column 'entity' is missing"),
        (("path", "file"), "there is no column 'path' nor 'image'"),
        ((",30,", ",,"), r"line 2: the box .* should be four numbers"),
        ((",30,", ",three,"), r"line 2: the box .* should be four numbers"),
        ((",30,", ",0,"), r"line 2: the box \(1,2\),\(0,20\) is reversed or empty"),
        ((",30,", ",61,"), r"line 2: the box .* lies outside its picture of 60 x 40"),
        (("barn owl", ""), r"line 2: the column 'entity' is empty"),
        (("bird,barn owl", ",barn owl"), r"line 2: the column 'category' is empty"),
        (("1,2,30,20", ",,,"), r"line 2 .*there is no box of 'barn owl'.*whole_image"),
        (("one.jpg", "gone.jpg"), r"gone\.jpg\): there is no such file"),
    ],
)
def test_what_a_csv_gets_wrong_is_told_with_its_line(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    for number, name in enumerate(("one", "two")):
        write(tmp_path / "a" / f"{name}.jpg", picture(number))
    (tmp_path / "list.csv").write_text(CSV.replace(*change, 1), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        opened("listing", tmp_path / "list.csv")


@pytest.mark.parametrize("name", ["list.csv", "list.parquet", "list.xlsx"])
def test_a_file_of_another_kind_is_no_listing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00\xd8PK")
    with pytest.raises(InputError, match=rf"{name}: "):
        opened("listing", tmp_path / name)


def test_what_is_twice_or_faulty_is_left_out_and_counted(tmp_path: Path) -> None:
    for number, name in enumerate(("one", "two", "same")):
        write(tmp_path / "a" / f"{name}.jpg", picture(number % 2))
    write(tmp_path / "a" / "cut.jpg", picture(7)[:-900])
    more = "a/same.jpg,bird,barn owl,1,2,30,20,,\na/cut.jpg,bird,barn owl,1,2,30,20,,\n"
    (tmp_path / "list.csv").write_text(CSV + more, encoding="utf-8")
    with pytest.raises(FaultyPhotos, match=r"cut\.jpg\): the picture is damaged or cut off"):
        opened("listing", tmp_path / "list.csv")
    photos, left_out = opened("listing", tmp_path / "list.csv", skip_bad=True)
    assert [photo.id for photo in photos] == ["a/one.jpg", "a/two.jpg"]
    assert left_out == {
        TWICE: {"count": 1, "examples": ["a/same.jpg"]},
        FAULTY: {"count": 1, "examples": ["a/cut.jpg"]},
    }


LABELS = [("bird", "owl"), ("bird", "owl"), ("Bird ", "OWL"), ("bird", "hawk"), ("fruit", "kiwi"), ("bird", "kiwi")]


def test_labels_that_cannot_be_meant_are_all_told_at_once() -> None:
    settled = settle([*LABELS, ("fern", "bracken")], "list.csv")
    assert settled.faults == (
        "list.csv: the category 'bird' is also written 'Bird '; write it one way.",
        "list.csv: the entity 'owl' is also written 'OWL'; write it one way.",
        "list.csv: the entity 'kiwi' is in 2 categories, 'bird' and 'fruit'; keep it in one.",
        "list.csv: the category 'fern' has a single entity, 'bracken'; add photos of a second one to tell it from.",
    )
    assert settled.labels == {
        ("bird", "owl"): ("bird", "owl"),
        ("Bird ", "OWL"): ("bird", "owl"),
        ("bird", "hawk"): ("bird", "hawk"),
        ("fruit", "kiwi"): None,
        ("bird", "kiwi"): None,
        ("fern", "bracken"): None,
    }
    assert settled.reasons == {
        ("Bird ", "OWL"): RESPELT,
        ("fruit", "kiwi"): TWO_CATEGORIES,
        ("bird", "kiwi"): TWO_CATEGORIES,
        ("fern", "bracken"): LONELY,
    }


def test_bad_labels_stop_a_listing_or_are_mended_and_counted(tmp_path: Path) -> None:
    lines = ["path,category,entity,x1,y1,x2,y2"]
    for number, (category, entity) in enumerate(LABELS):
        write(tmp_path / f"{number}.jpg", picture(number))
        lines.append(f"{number}.jpg,{category},{entity},0,0,9,9")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    with pytest.raises(FaultyPhotos, match=r"'bird' is also written 'Bird '; write it one way; 2 more like it\.$"):
        opened("listing", tmp_path / "list.csv")
    photos, left_out = opened("listing", tmp_path / "list.csv", skip_bad=True)
    assert {(photo.category, photo.entity) for photo in photos} == {("bird", "owl"), ("bird", "hawk")}
    assert left_out == {
        RESPELT: {"count": 1, "examples": ["2.jpg"]},
        TWO_CATEGORIES: {"count": 2, "examples": ["4.jpg", "5.jpg"]},
    }


def coco_tree(root: Path) -> dict[str, Any]:
    """Five photos as COCO writes them: one box, two of one entity, two entities, a crowd, one that EXIF turns."""
    boxes = {1: [(11, 0)], 2: [(11, 0), (11, 0)], 3: [(11, 0), (12, 0)], 4: [(12, 1)], 5: [(12, 0)]}
    for number in boxes:
        write(root / "val" / f"{number:012d}.jpg", picture(number, orientation=6 if number == 5 else 1))
    return {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", "width": 60, "height": 40, "license": 3} for n in boxes],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "category_id": category, "bbox": [2, 3, 20.5, 10], "iscrowd": crowd}
            for n, found in boxes.items()
            for k, (category, crowd) in enumerate(found)
        ],
        "categories": [
            {"id": 11, "name": "zebra", "supercategory": "animal"},
            {"id": 12, "name": "giraffe", "supercategory": "animal"},
        ],
        "licenses": [{"id": 3, "name": "CC BY-NC-ND 2.0", "url": "http://example.org"}],
    }


def test_coco_boxes_in_its_own_writing(tmp_path: Path) -> None:
    content = coco_tree(tmp_path)
    (tmp_path / "instances.json").write_text(json.dumps(content))
    photos, left_out = opened("coco", tmp_path / "instances.json", options={"images": str(tmp_path / "val")})
    licence = "CC BY-NC-ND 2.0"
    assert as_lines(photos) == [
        ("000000000001.jpg", "animal", "zebra", (2, 3, 22.5, 13), (60, 40), licence, "given"),
        # The annotator saw the stored picture, which EXIF turns a quarter to the right.
        ("000000000005.jpg", "animal", "giraffe", (40 - 13, 2, 40 - 3, 22.5), (40, 60), licence, "given"),
    ]
    assert {reason: found["count"] for reason, found in left_out.items()} == {SEVERAL: 1, ANOTHER: 1, CROWD: 1}


@pytest.mark.parametrize(
    "key, told", [("annotations", "there is no list 'annotations'"), ("categories", "'categories' is missing")]
)
def test_a_json_of_another_form_is_told(tmp_path: Path, key: str, told: str) -> None:
    content = coco_tree(tmp_path)
    del content[key]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=told):
        opened("coco", tmp_path / "instances.json")


def test_inaturalist_2017_takes_birds_and_reptiles(tmp_path: Path) -> None:
    species = [("Aves", "Accipiter cooperii"), ("Aves", "Buteo lineatus"), ("Reptilia", "Anolis sagrei")]
    species += [("Reptilia", "Elgaria coerulea"), ("Insecta", "Apis mellifera")]
    images, annotations = [], []
    for number, (group, name) in enumerate(species):
        file = f"train_val_images/{group}/{name}/{number:032x}.jpg"
        write(tmp_path / file, picture(number))
        images.append(
            {"id": number, "file_name": file, "width": 60, "height": 40, "license": 1, "rights_holder": "Ann"}
        )
        annotations.append({"id": number, "image_id": number, "category_id": 100 + number})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 100 + n, "supercategory": g, "name": s} for n, (g, s) in enumerate(species)],
        "licenses": [{"id": 1, "name": "Attribution-NonCommercial License", "url": "x"}],
    }
    (tmp_path / "train2017.json").write_text(json.dumps(content))
    boxes = {"annotations": [{"id": 7, "image_id": 1, "category_id": 101, "bbox": [5, 6, 10, 20]}]}
    (tmp_path / "train_2017_bboxes.json").write_text(json.dumps(boxes))
    config = {"whole_image": True, "options": {"boxes": "train_2017_bboxes.json"}}
    photos, _ = opened("inaturalist-2017", tmp_path, **config)
    assert [(p.category, p.entity, p.box, p.box_origin) for p in photos] == [
        ("bird", "Accipiter cooperii", (0, 0, 60, 40), "whole image"),
        ("bird", "Buteo lineatus", (5, 6, 15, 26), "given"),
        ("reptilia", "Anolis sagrei", (0, 0, 60, 40), "whole image"),
        ("reptilia", "Elgaria coerulea", (0, 0, 60, 40), "whole image"),
    ]
    assert {photo.licence for photo in photos} == {"Attribution-NonCommercial License, Ann"}
    assert photos[0].id == f"train_val_images/Aves/Accipiter cooperii/{0:032x}.jpg"


def test_fgvc_aircraft_without_its_banner(tmp_path: Path) -> None:
    names = {"1025794": ("707-320", "Boeing"), "1340192": ("Boeing 717", "Boeing"), "0056978": ("DC-6", "Douglas")}
    for number, name in enumerate(names):
        write(tmp_path / "images" / f"{name}.jpg", picture(number, (100, 80), banner=20))
    for level, kind in (("variant", 0), ("manufacturer", 1)):
        lines = "".join(f"{name} {labels[kind]}\n" for name, labels in names.items())
        (tmp_path / f"images_{level}_trainval.txt").write_text(lines)
    (tmp_path / "images_box.txt").write_text("1025794 3 5 98 50\n1340192 1 1 100 80\n0056978 10 10 20 20\n")
    photos, _ = opened("fgvc-aircraft", tmp_path, licence="non-commercial research")
    assert [(p.entity, p.box, p.size) for p in photos] == [
        ("Boeing 707-320", (2, 4, 98, 50), (100, 60)),
        ("Boeing 717", (0, 0, 100, 60), (100, 60)),
        ("Douglas DC-6", (9, 9, 20, 20), (100, 60)),
    ]
    assert {photo.category for photo in photos} == {"aircraft"}
    loaded = photos[0].load()
    assert loaded.size == (100, 60) and np.asarray(loaded)[-1].mean() > 60, "the black banner is gone"
    plain, _ = opened("fgvc-aircraft", tmp_path, options={"with_manufacturer": False})
    assert plain[0].entity == "707-320"


@pytest.mark.parametrize("form", ["devkit", "one file"])
def test_stanford_cars_from_its_matlab_files(tmp_path: Path, form: str) -> None:
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"], dtype=object)
    boxes = [(30, 5, 50, 20), (1, 1, 60, 40)]
    folder, field, prefix = (
        ("cars_train", "fname", "") if form == "devkit" else ("car_ims", "relative_im_path", "car_ims/")
    )
    notes = []
    for number, (x1, y1, x2, y2) in enumerate(boxes, start=1):
        write(tmp_path / folder / f"{number:05d}.jpg", picture(number))
        box = {"bbox_x1": x1, "bbox_y1": y1, "bbox_x2": x2, "bbox_y2": y2}
        notes.append({**box, "class": number, field: f"{prefix}{number:05d}.jpg"})
    keys = list(notes[0])
    table = np.array([tuple(note[key] for key in keys) for note in notes], dtype=[(key, object) for key in keys])
    if form == "devkit":
        (tmp_path / "devkit").mkdir()
        savemat(tmp_path / "devkit" / "cars_train_annos.mat", {"annotations": table})
        savemat(tmp_path / "devkit" / "cars_meta.mat", {"class_names": names})
    else:
        savemat(tmp_path / "cars_annos.mat", {"annotations": table, "class_names": names})
    photos, _ = opened("stanford-cars", tmp_path, options={"split": "train" if form == "devkit" else "all"})
    assert [(p.id, p.entity, p.box) for p in photos] == [
        (f"{folder}/00001.jpg", "AM General Hummer SUV 2000", (29, 4, 50, 20)),
        (f"{folder}/00002.jpg", "Acura RL Sedan 2012", (0, 0, 60, 40)),
    ]


def test_food_101_has_no_boxes_and_says_so(tmp_path: Path) -> None:
    lines = []
    for number, name in enumerate(("apple_pie", "baby_back_ribs")):
        write(tmp_path / "images" / name / f"{number}.jpg", picture(number))
        lines.append(f"{name}/{number}")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "classes.txt").write_text("apple_pie\nbaby_back_ribs\n")
    (tmp_path / "meta" / "labels.txt").write_text("Apple pie\nBaby back ribs\n")
    (tmp_path / "meta" / "train.txt").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"there is no box of 'Apple pie'; .*synthesis\.source\.whole_image"):
        opened("food101", tmp_path)
    photos, _ = opened("food101", tmp_path, whole_image=True)
    assert as_lines(photos)[0] == (
        "images/apple_pie/0.jpg", "food", "Apple pie", (0, 0, 60, 40), (60, 40), "unknown", "whole image"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["fgvc-aircraft", "stanford-cars", "food101", "inaturalist-2017", "coco", "listing"])
def test_a_folder_of_another_layout_is_told(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=r"^/.*[.;]"):
        opened(kind, tmp_path)
    with pytest.raises(InputError, match=r"there is no such file or folder"):
        opened(kind, tmp_path / "gone")
    with pytest.raises(InputError, match=r"synthesis\.source\.path is not set"):
        open_source(SourceConfig(kind=kind), seed=0)
