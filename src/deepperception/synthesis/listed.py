"""Photos that a file lists, whatever its format: one way to check them, open them and count what is left out."""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from deepperception.errors import InputError
from deepperception.grounding import question
from deepperception.inference.images import Frame, examine, open_image, open_reduced
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.labels import settle
from deepperception.synthesis.sources import (
    FAULTY,
    SEVERAL,
    TWICE,
    WHOLE_IMAGE,
    FaultyPhotos,
    Photo,
    PixelBox,
    Tally,
    upright,
)


class Spool:
    """Pictures that come inside another file, kept on disk for as long as any of them is held: memory stays flat."""

    def __init__(self) -> None:
        self._handle, name = tempfile.mkstemp(prefix="deepperception-")
        os.unlink(name)  # the system keeps it until the handle is closed
        self._end = 0
        weakref.finalize(self, os.close, self._handle)

    def add(self, content: bytes) -> Spooled:
        with open(self._handle, "ab", closefd=False) as file:
            file.write(content)
        self._end += len(content)
        return Spooled(self, self._end - len(content), len(content))

    def read(self, offset: int, length: int) -> bytes:
        """Part of it; may be called from several threads."""
        return os.pread(self._handle, length, offset)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A picture in a spool."""

    spool: Spool
    offset: int
    length: int

    def read(self) -> bytes:
        return self.spool.read(self.offset, self.length)


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo as its listing describes it. `where` names the line for an error, `picture` may not exist.

    `boxes` are of its entity, in pixels of the upright photo; or, where the photo's EXIF turns it, of a picture of
    `size` (width, height), if that is given. `cut_off` rows of pixels at the foot do not belong to the photo.
    """

    id: str
    picture: Path | Spooled
    category: str
    entity: str
    where: str
    boxes: tuple[PixelBox, ...] = ()
    size: tuple[int, int] | None = None
    licence: str = ""
    cut_off: int = 0


Reader = Callable[[SourceConfig, Tally], Iterable[Entry]]
"""Reads a listing and counts what it leaves out itself; InputError where the listing as a whole cannot be read."""


class ListedSource:
    """The photos of a listing. Built with (config) and the reader of its format."""

    def __init__(self, config: SourceConfig, read: Reader) -> None:
        if config.path is None:
            raise InputError(f"synthesis.source.path is not set; the source '{config.kind}' needs it.")
        if not config.path.exists():
            raise InputError(f"{config.path}: there is no such file or folder; correct synthesis.source.path.")
        self.config, self.root, self._read = config, config.path, read
        self.left_out = Tally()

    def photos(self) -> Iterator[Photo]:
        """Photos with exactly one box of their entity, in the order of the listing.

        FaultyPhotos where labels or photos cannot be used as they are; with `skip_bad` labels are written one way,
        what cannot be told apart and what is damaged is left out and counted.
        """
        self.left_out = Tally()
        entries = list(self._read(self.config, self.left_out))
        if not entries:
            raise InputError(f"{self.root}: there is no photo in this listing; give another, or correct its options.")
        settled = settle(((entry.category, entry.entity) for entry in entries), str(self.root))
        if settled.faults and not self.config.skip_bad:
            raise FaultyPhotos(list(settled.faults))
        faults: list[str] = []
        found: list[Photo] = []
        digests: set[str] = set()
        for entry in entries:
            label = settled.labels[entry.category, entry.entity]
            if reason := settled.reasons.get((entry.category, entry.entity)):
                self.left_out.add(reason, entry.id)
            if label is None:
                continue
            try:
                photo = self._photo(entry, *label)
            except InputError as fault:
                faults.append(str(fault))
                if self.config.skip_bad:
                    self.left_out.add(FAULTY, entry.id)
                continue
            if photo and photo.digest in digests:
                self.left_out.add(TWICE, photo.id)
            elif photo:
                digests.add(photo.digest)
                found.append(photo)
        if faults and not self.config.skip_bad:
            raise FaultyPhotos(faults)
        yield from found

    def report(self) -> dict[str, Any]:
        return self.left_out.as_dict()

    def _photo(self, entry: Entry, category: str, entity: str) -> Photo | None:
        """The photo; None, and counted, where it is sound but shows its entity twice."""
        question(entity)  # refuses names that cannot be asked for
        name = f"{entry.where} ({entry.id})"
        content = _content(entry)
        frame = examine(content, name=name)
        width, height = frame.upright
        if entry.cut_off >= height:
            raise InputError(f"{name}: the photo is {height} pixels high, no more than is cut off; replace it.")
        size = (width, height - entry.cut_off)
        if len(entry.boxes) > 1:
            self.left_out.add(SEVERAL, entry.id)
            return None
        box = _own_box(entry, frame, size)
        if box is None and not self.config.whole_image:
            raise InputError(
                f"{name}: there is no box of '{entity}'; add it, or say that such photos show one thing all over with "
                "synthesis.source.whole_image."
            )
        return Photo(
            id=entry.id,
            category=category,
            entity=entity,
            box=box or (0, 0, *size),
            size=size,
            licence=entry.licence or self.config.licence or "unknown",
            load=partial(_load, entry),
            digest=hashlib.sha256(content.read_bytes() if isinstance(content, Path) else content).hexdigest(),
            box_origin="given" if box else WHOLE_IMAGE,
            load_reduced=None if entry.cut_off else partial(_load_reduced, entry),
        )


def _own_box(entry: Entry, frame: Frame, size: tuple[int, int]) -> PixelBox | None:
    """The box on the photo that is left after cutting; None where the listing has none."""
    if not entry.boxes:
        return None
    x1, y1, x2, y2 = upright(entry.boxes[0], frame, entry.size, entry.where)
    if y1 >= size[1]:
        raise InputError(f"{entry.where}: the box lies in the {entry.cut_off} rows that are cut off; correct it.")
    return x1, y1, x2, min(y2, size[1])


def _load(entry: Entry) -> Image.Image:
    picture = open_image(_content(entry), name=f"{entry.where} ({entry.id})")
    return picture.crop((0, 0, picture.width, picture.height - entry.cut_off)) if entry.cut_off else picture


def _load_reduced(entry: Entry, least: tuple[int, int]) -> tuple[Image.Image, int]:
    return open_reduced(_content(entry), least, name=f"{entry.where} ({entry.id})")


def _content(entry: Entry) -> bytes | Path:
    return entry.picture if isinstance(entry.picture, Path) else entry.picture.read()
