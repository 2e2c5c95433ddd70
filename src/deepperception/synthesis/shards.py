"""The files of a dataset, made shard by shard, so that a killed run goes on from the last whole one.

Finished shards wait in a folder beside the dataset, each with a note of what it holds; the same settings, photos and
seed give the same shards, so those of a killed run are those of this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.artifacts.datasets import write_rows
from deepperception.artifacts.disk import discard, write_text
from deepperception.artifacts.manifest import release
from deepperception.synthesis.card import FileCounts
from deepperception.synthesis.rows import Row


@dataclass(frozen=True)
class Made:
    """What making a shard came to: `asked` rows were tried, `refused` by reason of those."""

    counts: FileCounts
    asked: int
    refused: Mapping[str, int]


Maker = Callable[[int, int, Path], tuple[Iterable[Row], Callable[[], Mapping[str, int]]]]
"""(first row, rows wanted, file for replies) -> the rows, and what was refused once they are all taken."""


class Shards:
    """Where the shards of one dataset wait. `key` is all that decides what is in them."""

    def __init__(self, place: Path, key: Mapping[str, Any]) -> None:
        text = json.dumps({**key, "release": release()}, sort_keys=True)
        self.place = place
        self.folder = place / hashlib.sha256(text.encode()).hexdigest()[:16]

    def clear_others(self) -> None:
        """Remove shards that were made from something else."""
        if self.place.is_dir():
            for other in self.place.iterdir():
                if other != self.folder:
                    discard(other)

    def discard(self) -> None:
        """Remove them all: the dataset is whole."""
        discard(self.place)

    def make(self, name: str, wanted: int, per_shard: int, make: Maker) -> Iterator[tuple[Path, Made, bool]]:
        """The shards of file `name`, one after the other: where each is, what it holds, and whether it was there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        first = 0
        for number, start in enumerate(range(0, wanted, per_shard)):
            path = self.folder / f"{name}-{number:05d}.parquet"
            made = _noted(path)
            there = made is not None
            if made is None:
                made = _written(path, first, min(per_shard, wanted - start), make)
            first += made.asked
            yield path, made, there


def place_shards(shards: list[Path], target: Path) -> None:
    """Put a file's shards in the dataset: a single one as the file `target`, several into a folder of that name."""
    if len(shards) == 1:
        _link(shards[0], target)
        return
    target.mkdir()
    for number, shard in enumerate(shards):
        _link(shard, target / f"{number:05d}.parquet")


def _written(path: Path, first: int, rows: int, make: Maker) -> Made:
    counts = FileCounts()
    replies = path.with_suffix(".replies")
    made, refused = make(first, rows, replies)

    def counted() -> Iterator[Any]:
        for row in made:
            counts.add(row.sample, row.layout)
            yield row.sample

    write_rows(path, counted())
    told = dict(refused())
    asked = rows + sum(told.values())
    write_text(_note(path), json.dumps({"asked": asked, "refused": told, "counts": counts.to_json()}))
    replies.unlink(missing_ok=True)
    return Made(counts, asked, told)


def _noted(path: Path) -> Made | None:
    """What a finished shard holds. The note is written last."""
    if not (_note(path).is_file() and path.is_file()):
        return None
    note = json.loads(_note(path).read_text(encoding="utf-8"))
    return Made(FileCounts.from_json(note["counts"]), note["asked"], note["refused"])


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _link(source: Path, target: Path) -> None:
    """A second name for the file, so that a kill before the dataset is sealed loses no shard; or a copy of it."""
    try:
        os.link(source, target)
    except OSError:  # some volumes have no links
        shutil.copyfile(source, target)
