"""Photos in folders: CATEGORY/ENTITY/*.jpg, or ENTITY/*.jpg where the settings name the one category.

An entity's pictures lie in its folder or in `images/` below it; its PASCAL VOC annotations beside the pictures or in
`annotations/`. Underscores in folder names stand for spaces. Licences, readmes and hidden files may lie anywhere; every
other file is counted among what was left out.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.errors import InputError
from deepperception.grounding import question
from deepperception.inference.images import Frame, examine, open_image, open_reduced
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.labels import settle
from deepperception.synthesis.sources import (
    ANOTHER,
    FAULTY,
    SEVERAL,
    TWICE,
    WHOLE_IMAGE,
    BoxOrigin,
    FaultyPhotos,
    Photo,
    PixelBox,
    Tally,
)
from deepperception.synthesis.voc import read_annotation, upright_box

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_PICTURES, _ANNOTATIONS = "images", "annotations"
_LICENCES = ("LICENSE", "LICENCE")
_TEXTS = (*_LICENCES, "README", "NOTICE", "COPYING")
_LEFT_BY_SYSTEMS = ("thumbs.db", "desktop.ini")

MISPLACED = f"is a picture outside an entity's folder and its {_PICTURES}/"
UNUSED = "is an annotation that no photo uses"
UNKNOWN = f"is neither a picture ({', '.join(PICTURE_SUFFIXES)}) nor an annotation (.xml)"


@dataclass(frozen=True)
class _EntityFolder:
    path: Path
    category: str
    entity: str

    def pictures(self) -> list[Path]:
        folders = (self.path, self.path / _PICTURES)
        return [file for folder in folders for file in _visible(folder) if file.suffix.lower() in PICTURE_SUFFIXES]

    def annotation_of(self, picture: Path) -> Path | None:
        places = (picture.parent, self.path / _ANNOTATIONS, picture.parent / _ANNOTATIONS)
        return next((file for place in places if (file := place / f"{picture.stem}.xml").is_file()), None)


class FolderSource:
    """Labelled photos on disk, each read once to its end before any is used."""

    def __init__(self, config: SourceConfig, seed: int) -> None:
        self.config = config
        self.left_out = Tally()
        if config.path is None:
            raise InputError("synthesis.source.path is not set; name the folder of photos there or with --source.")
        self.root = config.path

    def photos(self) -> Iterator[Photo]:
        """Photos with exactly one box of their entity, in order of their path.

        InputError where the folders are not laid out as the module says, or a category has a single entity;
        FaultyPhotos where a photo cannot be used as it is, unless `skip_bad` says to leave those out. What is left out
        for holding several boxes is not read to its end.
        """
        self.left_out = Tally()
        every = self._entity_folders()
        folders = self._settled(every)
        siblings: defaultdict[str, set[str]] = defaultdict(set)
        for folder in folders:
            siblings[folder.category].add(_plain(folder.entity))
        found: list[Photo] = []
        faults: dict[str, str] = {}
        digests: set[str] = set()
        for folder in folders:
            others = siblings[folder.category] - {_plain(folder.entity)}
            licence = self.config.licence or self._licence(folder)
            for picture in folder.pictures():
                try:
                    photo = self._photo(folder, picture, others, licence)
                except InputError as fault:
                    faults[self._name(picture)] = str(fault)
                    continue
                if photo and photo.digest in digests:
                    self.left_out.add(TWICE, photo.id)
                elif photo:
                    digests.add(photo.digest)
                    found.append(photo)
        if faults and not self.config.skip_bad:
            raise FaultyPhotos(list(faults.values()))
        for name in faults:
            self.left_out.add(FAULTY, name)
        self._tally_strays(every)
        yield from found

    def report(self) -> dict[str, Any]:
        return self.left_out.as_dict()

    def _entity_folders(self) -> list[_EntityFolder]:
        if not self.root.is_dir():
            raise InputError(
                f"{self.root}: there is no such folder of photos; correct --source or synthesis.source.path."
            )
        if self.config.category is not None:
            folders = self._entities_in(self.root, self.config.category)
        else:
            categories = [path for path in _visible(self.root) if path.is_dir()]
            if not categories:
                raise InputError(
                    f"{self.root}: there are no photos in this folder; expected CATEGORY/ENTITY/*.jpg in it."
                )
            folders = [folder for path in categories for folder in self._entities_in(path, _spoken(path.name))]
        for folder in folders:
            if not folder.pictures():
                kinds = ", ".join(PICTURE_SUFFIXES)
                raise InputError(f"{folder.path}: this entity has no photos ({kinds}); add some, or remove the folder.")
        return folders

    def _settled(self, folders: list[_EntityFolder]) -> list[_EntityFolder]:
        """The folders with their names written one way; FaultyPhotos, or a count of them, where that is not enough."""
        named = {folder.path: (folder.category, folder.entity) for folder in folders}
        settled = settle((named[folder.path] for folder in folders for _ in folder.pictures()), str(self.root))
        if settled.faults and not self.config.skip_bad:
            raise FaultyPhotos(list(settled.faults))
        kept: list[_EntityFolder] = []
        for folder in folders:
            label = settled.labels[named[folder.path]]
            if reason := settled.reasons.get(named[folder.path]):
                for picture in folder.pictures():
                    self.left_out.add(reason, self._name(picture))
            if label is not None:
                kept.append(_EntityFolder(folder.path, *label))
        return kept

    def _entities_in(self, path: Path, category: str) -> list[_EntityFolder]:
        below = [entity for entity in _visible(path) if entity.is_dir()]
        if self.config.category is None and (not below or any(entity.name == _PICTURES for entity in below)):
            raise InputError(
                f"{path}: expected CATEGORY/ENTITY/*.jpg and this category holds no entity folders; where {self.root} "
                "holds the entities of one category, name it with synthesis.source.category."
            )
        if not below:
            raise InputError(f"{path}: there are no photos in this folder; expected ENTITY/*.jpg in it.")
        if len(below) == 1:
            raise InputError(
                f"{path}: the category '{category}' has a single entity, '{_spoken(below[0].name)}'; "
                "add photos of a second one to tell it from."
            )
        folders = [_EntityFolder(entity, category, _spoken(entity.name)) for entity in below]
        for folder in folders:
            question(folder.entity)  # refuses names that cannot be asked for, before any photo is read
        return folders

    def _photo(self, folder: _EntityFolder, picture: Path, others: set[str], licence: str) -> Photo | None:
        """The photo; None, and counted, where it is sound but cannot be used. InputError says what is faulty."""
        frame = examine(picture, whole=False)
        place = folder.annotation_of(picture)
        if place is None and self.config.whole_image:
            return self._read(folder, picture, (0, 0, *frame.upright), frame, licence, WHOLE_IMAGE)
        if place is None and not self.config.boxed:
            return self._read(folder, picture, None, frame, licence, "given")
        if place is None:
            raise InputError(
                f"{picture}: there is no annotation of this photo; put {picture.stem}.xml beside it, or say that such "
                "photos show one thing all over with synthesis.source.whole_image."
            )
        annotation = read_annotation(place)
        boxes = [(_plain(label), upright_box(annotation, box, frame)) for label, box in annotation.objects]
        own = [box for label, box in boxes if label == _plain(folder.entity)]
        if not own:
            labels = ", ".join(sorted({label for label, _ in annotation.objects})) or "nothing"
            raise InputError(
                f"{place}: there is no box of '{folder.entity}', only of {labels}; add it, or remove the photo."
            )
        if len(own) > 1:
            self.left_out.add(SEVERAL, self._name(picture))
            return None
        if any(label in others for label, _ in boxes):
            self.left_out.add(ANOTHER, self._name(picture))
            return None
        return self._read(folder, picture, own[0], frame, licence, "given")

    def _read(
        self,
        folder: _EntityFolder,
        picture: Path,
        box: PixelBox | None,
        frame: Frame,
        licence: str,
        box_origin: BoxOrigin,
    ) -> Photo:
        """The photo, read to its end."""
        examine(picture)
        return Photo(
            id=self._name(picture),
            category=folder.category,
            entity=folder.entity,
            box=box,
            size=frame.upright,
            licence=licence,
            load=lambda: open_image(picture),
            digest=hashlib.sha256(picture.read_bytes()).hexdigest(),
            box_origin=box_origin,
            load_reduced=lambda least: open_reduced(picture, least),
        )

    def _tally_strays(self, folders: list[_EntityFolder]) -> None:
        """Count the files that photos() never came to look at."""
        pictures = {picture: folder.annotation_of(picture) for folder in folders for picture in folder.pictures()}
        looked_at = {*pictures, *pictures.values()}
        for file in _files_below(self.root):
            if file in looked_at or file.stem.upper() in _TEXTS or file.name.lower() in _LEFT_BY_SYSTEMS:
                continue
            suffix = file.suffix.lower()
            reason = MISPLACED if suffix in PICTURE_SUFFIXES else UNUSED if suffix == ".xml" else UNKNOWN
            self.left_out.add(reason, self._name(file))

    def _name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _licence(self, folder: _EntityFolder) -> str:
        """The first line of the nearest LICENSE file; "unknown" where there is none."""
        for place in (folder.path, folder.path.parent, self.root):
            for file in _visible(place):
                if file.stem.upper() in _LICENCES and file.is_file():
                    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
                    return next((line.strip() for line in lines if line.strip()), "unknown")
        return "unknown"


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name; nothing where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)


def _files_below(folder: Path, entered: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Every visible file, also behind links to folders; a link back to where it came from is not followed."""
    if (real := folder.resolve()) in entered:
        return
    for path in _visible(folder):
        if path.is_dir():
            yield from _files_below(path, entered | {real})
        else:
            yield path


def _spoken(folder_name: str) -> str:
    return folder_name.replace("_", " ").strip()


def _plain(name: str) -> str:
    """A name without what folders and annotations write differently: case, underscores, hyphens, spaces."""
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())
