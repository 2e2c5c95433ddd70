"""COCO's JSON: images, annotations with boxes [x, y, width, height], categories under supercategories, licenses.

The supercategory is the project's category, the category its entity. iNaturalist 2017 has the same form, its boxes in a
file of their own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from deepperception.errors import InputError
from deepperception.settings import Settings, parse
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.listed import Entry, ListedSource
from deepperception.synthesis.sources import ANOTHER, PixelBox, Tally

CROWD = "holds a crowd of its entity, boxed as one"


class CocoOptions(Settings):
    """Where the photos of an annotation file are, and which of them to take."""

    images: Path | None = Field(None, description="The folder that file_name is relative to; None: the JSON's own.")
    categories: dict[str, str] = Field({}, description="Supercategory -> category to take it for; empty: all.")


class INaturalistOptions(Settings):
    """Of iNaturalist 2017: which files, and which classes under which name."""

    annotations: str = Field("train2017.json", description="train2017.json or val2017.json.")
    boxes: str | None = Field(None, description="train_2017_bboxes.json: boxes of a part of the photos.")
    categories: dict[str, str] = Field(
        {"Aves": "bird", "Reptilia": "reptilia"}, description="Class -> category to take it for. Paper: these two."
    )


def coco(config: SourceConfig, seed: int) -> ListedSource:
    """The source of kind `coco`: `path` is the JSON file."""
    return ListedSource(config, _read_coco)


def inaturalist(config: SourceConfig, seed: int) -> ListedSource:
    """The source of kind `inaturalist-2017`: `path` is the folder of train_val_images/ and the JSON files."""
    return ListedSource(config, _read_inaturalist)


def _read_coco(config: SourceConfig, left_out: Tally) -> Iterator[Entry]:
    assert config.path is not None
    options = parse(config.options, CocoOptions, where="synthesis.source.options")
    content = _load(config.path)
    images = options.images or config.path.parent
    return _entries(content, content["annotations"], images, options.categories, config, config.path, left_out)


def _read_inaturalist(config: SourceConfig, left_out: Tally) -> Iterator[Entry]:
    assert config.path is not None
    options = parse(config.options, INaturalistOptions, where="synthesis.source.options")
    path = config.path / options.annotations
    content = _load(path)
    annotations = list(content["annotations"])
    if options.boxes:
        boxed = [note for note in _load(config.path / options.boxes)["annotations"] if "bbox" in note]
        images = {note["image_id"] for note in boxed}
        annotations = boxed + [note for note in annotations if note["image_id"] not in images]
    return _entries(content, annotations, config.path, options.categories, config, path, left_out)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}); correct its name.") from None
    except ValueError as error:
        raise InputError(f"{path}: this is no JSON ({error}); get the file again.") from None
    missing = [
        key for key in ("annotations",) if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise InputError(f"{path}: there is no list '{missing[0]}' in it; give annotations in COCO's form.")
    return dict(content)


def _entries(
    content: Mapping[str, Any],
    annotations: list[dict[str, Any]],
    images: Path,
    wanted: Mapping[str, str],
    config: SourceConfig,
    place: Path,
    left_out: Tally,
) -> Iterator[Entry]:
    try:
        labels = {each["id"]: (each.get("supercategory") or "", each["name"]) for each in content["categories"]}
        licences = {each["id"]: each.get("name") or each.get("url") for each in content.get("licenses") or ()}
        notes: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
        for note in annotations:
            notes[note["image_id"]].append(note)
        for image in content["images"]:
            where = f"{place}, image {image['id']}"
            found = [(*_label(labels[note["category_id"]], wanted, config), note) for note in notes[image["id"]]]
            yield from _entry(image, [each for each in found if each[0]], images, licences, where, left_out)
    except KeyError as error:
        raise InputError(f"{place}: the key or number {error} is missing; give annotations in COCO's form.") from None


def _label(label: tuple[str, str], wanted: Mapping[str, str], config: SourceConfig) -> tuple[str, str]:
    """Category and entity; the category is empty where its photos are not wanted."""
    supercategory, entity = label
    if wanted:
        return wanted.get(supercategory, ""), entity
    return config.category or supercategory, entity


def _entry(
    image: Mapping[str, Any],
    found: list[tuple[str, str, dict[str, Any]]],
    images: Path,
    licences: Mapping[Any, str | None],
    where: str,
    left_out: Tally,
) -> Iterator[Entry]:
    """The photo once for each category that has things on it; one that shows two entities of one is left out."""
    name = str(image["file_name"])
    for category in dict.fromkeys(each[0] for each in found):
        mine = [(entity, note) for its, entity, note in found if its == category]
        if len({entity for entity, _ in mine}) > 1:
            left_out.add(ANOTHER, name)
            continue
        if any(note.get("iscrowd") for _, note in mine):
            left_out.add(CROWD, name)
            continue
        yield Entry(
            id=name,
            picture=images / name,
            category=category,
            entity=mine[0][0],
            where=where,
            boxes=tuple(_corners(note, where) for _, note in mine if note.get("bbox")),
            size=(image["width"], image["height"]) if image.get("width") and image.get("height") else None,
            licence=_licence(image, licences),
        )


def _corners(note: Mapping[str, Any], where: str) -> PixelBox:
    try:
        x, y, width, height = (float(value) for value in note["bbox"])
    except (TypeError, ValueError):
        raise InputError(f"{where}: bbox should be [x, y, width, height] and is {note['bbox']}; correct it.") from None
    return x, y, x + width, y + height


def _licence(image: Mapping[str, Any], licences: Mapping[Any, str | None]) -> str:
    name = licences.get(image.get("license")) or ""
    holder = str(image.get("rights_holder") or "").strip()
    return f"{name}, {holder}" if name and holder else name or holder
