"""Which photos a split may use, and what is drawn from them for one row."""

from __future__ import annotations

import difflib
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar, cast

from deepperception.errors import InputError
from deepperception.grounding import Split
from deepperception.synthesis.config import Layout, SynthesisConfig
from deepperception.synthesis.sources import Photo, Tally

TOO_FEW = "is of an entity with too few photos to be in every split"
Choice = TypeVar("Choice")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Shelf = dict[str, list[Photo]]
"""The photos of a category that one split may use, by entity."""


@dataclass(frozen=True)
class Draw:
    """What one row shows: at least two photos of different entities, and the index of the one asked for."""

    category: str
    photos: tuple[Photo, ...]
    target: int
    layout: Layout


@dataclass(frozen=True)
class Pool:
    """The categories of one split. With unseen ones in it, rows take turns between seen and unseen."""

    seen: Mapping[str, Shelf]
    unseen: Mapping[str, Shelf]
    config: SynthesisConfig

    def draw(self, index: int, rng: Random) -> Draw:
        """The row with this number. Categories take turns; entities, photos, target and layout are random."""
        sides = [side for side in (self.seen, self.unseen) if side]
        side = sides[index % len(sides)]
        category = list(side)[index // len(sides) % len(side)]
        shelf = side[category]
        count = _weighted(self._possible(shelf), rng)
        photos = tuple(rng.choice(shelf[entity]) for entity in rng.sample(list(shelf), count))
        return Draw(category, photos, rng.randrange(count), _weighted(self.config.layouts, rng))

    def _possible(self, shelf: Shelf) -> dict[int, float]:
        return {count: weight for count, weight in self.config.candidates.items() if count <= len(shelf)}

    def check(self) -> None:
        """InputError where a category has too few entities for every wanted number of them."""
        for category, shelf in itertools.chain(self.seen.items(), self.unseen.items()):
            if not sum(self._possible(shelf).values()) > 0:
                fewest = min(count for count, weight in self.config.candidates.items() if weight > 0)
                raise InputError(
                    f"synthesis.candidates: a picture should hold at least {fewest} entities and the category "
                    f"'{category}' has {len(shelf)} with photos enough; add entities, or allow fewer."
                )

    def photo_count(self) -> int:
        return sum(
            len(photos) for side in (self.seen, self.unseen) for shelf in side.values() for photos in shelf.values()
        )


def deal(photos: Iterable[Photo], config: SynthesisConfig, seed: int) -> tuple[dict[Split, Pool], Tally]:
    """Deal every photo to one split, and count those left over.

    Each entity's photos are dealt by the settings' shares, at least one to each split. Unseen categories have no part
    in training, so their training share goes to the other two splits in proportion. InputError where a category is
    left with a single entity, or `seen` names one that is not there.
    """
    entities: defaultdict[str, Shelf] = defaultdict(dict)
    for photo in photos:
        entities[photo.category].setdefault(photo.entity, []).append(photo)
    seen = _seen(config.seen, sorted(entities))
    shelves: dict[Split, tuple[dict[str, Shelf], dict[str, Shelf]]] = {split: ({}, {}) for split in SPLITS}
    left_over = Tally()
    for category in sorted(entities):
        splits = SPLITS if category in seen else SPLITS[1:]
        shares = [cast(float, getattr(config.splits, split)) for split in splits]
        for entity, its_photos in sorted(entities[category].items()):
            if len(its_photos) < len(splits):
                for photo in its_photos:
                    left_over.add(TOO_FEW, photo.id)
                continue
            for split, part in zip(splits, _parts(its_photos, shares, seed), strict=True):
                shelves[split][category not in seen].setdefault(category, {})[entity] = part
        _refuse_lonely(category, shelves["test"][category not in seen].get(category, {}))
    pools = {split: Pool(*shelves[split], config) for split in SPLITS}
    for pool in pools.values():
        pool.check()
    return pools, left_over


def _seen(wanted: Sequence[str], categories: Sequence[str]) -> set[str]:
    if not categories:
        raise InputError(
            "synthesis.source: there is no photo left to compose; give photos with one box of their entity each."
        )
    for name in wanted:
        if name not in categories:
            near = difflib.get_close_matches(name, categories, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(categories)}."
            raise InputError(f"synthesis.seen: there is no category '{name}' among the photos; {hint}")
    return set(wanted or categories)


def _refuse_lonely(category: str, shelf: Shelf) -> None:
    if len(shelf) < 2:
        only = f"a single entity, '{next(iter(shelf))}'," if shelf else "no entity"
        raise InputError(
            f"synthesis.source: the category '{category}' has {only} with photos enough for every split; "
            "add photos of others."
        )


def _parts(photos: Sequence[Photo], shares: Sequence[float], seed: int) -> list[list[Photo]]:
    """Cut the photos, in an order that only the seed and their names decide, at the shares; no part is empty."""
    ordered = sorted(photos, key=lambda photo: hashlib.sha256(f"{seed}/{photo.id}".encode()).digest())
    cuts = [0]
    for place, share in enumerate(itertools.accumulate(shares), start=1):
        parts_after = len(shares) - place
        end = round(len(ordered) * share / sum(shares))
        cuts.append(min(max(end, cuts[-1] + 1), len(ordered) - parts_after))
    return [sorted(ordered[start:end], key=lambda photo: photo.id) for start, end in itertools.pairwise(cuts)]


def _weighted(weights: Mapping[Choice, float], rng: Random) -> Choice:
    return rng.choices(list(weights), list(weights.values()))[0]
