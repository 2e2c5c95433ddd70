"""No training picture may hold a benchmark's: photos are compared with its pictures before any is composed.

The paper says of its own data that no image is shared with the benchmark, and published no check; this one is the
project's. Entities are expected to be shared, and are listed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepperception.artifacts.datasets import read_rows
from deepperception.artifacts.disk import write_text
from deepperception.errors import InputError
from deepperception.grounding import Box, Sample
from deepperception.inference.ahead import ahead
from deepperception.inference.images import open_image
from deepperception.progress import Progress
from deepperception.synthesis.config import LeakageConfig
from deepperception.synthesis.likeness import Look, Looks, glance, look
from deepperception.synthesis.rows import cores
from deepperception.synthesis.sources import Photo

_NAMED = 3
_BLOCK = 1 << 20

Pair = tuple[str, str]
"""(photo's id, question_id of the benchmark's picture)."""


@dataclass(frozen=True)
class Leakage:
    """What the comparison came to; `as_dict` is the card's `leakage`, which a promotion reads."""

    benchmark: str
    digest: str
    pictures: int
    photos: int
    pairs: tuple[Pair, ...]
    shared_entities: dict[str, list[str]]
    reason: str | None

    @property
    def verdict(self) -> Literal["clean", "found", "overridden"]:
        if not self.pairs:
            return "clean"
        return "overridden" if self.reason else "found"

    def as_dict(self) -> dict[str, Any]:
        return {
            "checked": True,
            "benchmark": self.benchmark,
            "benchmark_digest": self.digest,
            "benchmark_pictures": self.pictures,
            "photos": self.photos,
            "verdict": self.verdict,
            "reason": self.reason,
            "pairs": [{"photo": photo, "question_id": question_id} for photo, question_id in self.pairs],
            "shared_entities": self.shared_entities,
        }


UNCHECKED: dict[str, Any] = {"checked": False}


def benchmark_digest(config: LeakageConfig) -> dict[str, str]:
    """The benchmark as an input of the stage: {"benchmark": "sha256:..."}; nothing where none is set."""
    if config.benchmark is None:
        return {}
    digest = hashlib.sha256()
    try:
        with config.benchmark.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"{config.benchmark}: the benchmark cannot be read ({error.strerror}); correct synthesis.leakage.benchmark."
        ) from None
    return {"benchmark": f"sha256:{digest.hexdigest()}"}


def check(photos: Sequence[Photo], config: LeakageConfig, listing: Path, progress: Progress) -> dict[str, Any]:
    """The card's `leakage`. InputError, naming pairs, where photos are in the benchmark and no reason allows it.

    All pairs are then in the file `listing`, as JSON.
    """
    listing.unlink(missing_ok=True)
    if config.benchmark is None:
        return UNCHECKED
    found = compare(photos, config, progress)
    if found.verdict != "found":
        more = f", allowed because: {found.reason}" if found.pairs else ""
        progress.say(f"{len(found.pairs):,} photos in {found.benchmark}{more}")
        return found.as_dict()
    write_text(listing, json.dumps(found.as_dict(), indent=2, ensure_ascii=False) + "\n")
    named = ", ".join(f"{photo} in {question_id}" for photo, question_id in found.pairs[:_NAMED])
    more = f" and {len(found.pairs) - _NAMED} more" if len(found.pairs) > _NAMED else ""
    raise InputError(
        f"{config.benchmark}: photos to train on are in the benchmark: {named}{more} (all are listed in {listing}); "
        "remove them, or say why they may stay with synthesis.leakage.allowed_because."
    )


def compare(photos: Sequence[Photo], config: LeakageConfig, progress: Progress) -> Leakage:
    """Look for every photo in every picture of the benchmark; a thread for each core."""
    assert config.benchmark is not None
    names: set[str] = set()
    pictures = 0
    looks: list[Look] = []
    threads = {"workers": cores(), "at_most": 4 * cores()}
    for entities, seen in ahead(_seen_on, read_rows(config.benchmark), **threads):
        looks += seen
        pictures += 1
        names |= entities
    benchmark = Looks(looks)

    def found(photo: Photo) -> list[Pair]:
        return [(photo.id, question_id) for question_id in benchmark.shared_with(look(photo.id, photo.load()))]

    pairs: list[Pair] = []
    with progress.track(len(photos), "photos against the benchmark") as bar:
        for shared in ahead(found, photos, **threads):
            pairs += shared
            bar.advance()
    return Leakage(
        benchmark=config.benchmark.name,
        digest=benchmark_digest(config)["benchmark"],
        pictures=pictures,
        photos=len(photos),
        pairs=tuple(pairs),
        shared_entities=_shared(photos, names),
        reason=config.allowed_because,
    )


def _seen_on(sample: Sample) -> tuple[set[str], list[Look]]:
    """The entities of a benchmark's picture; its look, and as wholes those of the things on it that have a box."""
    picture = open_image(sample.image, name=sample.question_id)
    boxes = {sample.target, *(thing.box for thing in sample.objects)}
    regions = [picture.crop(_whole_pixels(box, picture.size)) for box in sorted(boxes, key=Box.as_tuple)]
    wholes = [glance(sample.question_id, region) for region in regions]
    entities = {_plain(sample.entity), *(_plain(thing.entity) for thing in sample.objects)}
    return entities, [look(sample.question_id, picture), *wholes]


def _whole_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box.to_pixels(*size)
    left, top = math.floor(x1), math.floor(y1)
    return left, top, max(math.ceil(x2), left + 1), max(math.ceil(y2), top + 1)


def _shared(photos: Iterable[Photo], names: set[str]) -> dict[str, list[str]]:
    shared: dict[str, set[str]] = {}
    for photo in photos:
        if _plain(photo.entity) in names:
            shared.setdefault(photo.category, set()).add(photo.entity)
    return {category: sorted(found) for category, found in sorted(shared.items())}


def _plain(name: str) -> str:
    return "".join(name.casefold().replace("_", " ").replace("-", " ").split())
