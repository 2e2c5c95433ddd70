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
from deepperception.synthesis.look_alikes import LookAlikes, read_look_alikes
from deepperception.synthesis.sources import Photo, Tally

TOO_FEW = "is of an entity with too few photos to be in every split"
LONELY = "is of a category with too few entities left"
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
    seen: bool
    """Whether the one asked for may be trained on."""


@dataclass(frozen=True)
class Pool:
    """The categories of one split. With unseen ones in it, rows take turns between seen and unseen.

    A category may be in both, where some of its entities are held out: those are asked for in unseen rows, and shown
    beside the others.
    """

    seen: Mapping[str, Shelf]
    unseen: Mapping[str, Shelf]
    config: SynthesisConfig
    look_alikes: LookAlikes | None = None

    def draw(self, index: int, rng: Random) -> Draw:
        """The row with this number. Categories take turns; entities, photos, target and layout are random."""
        sides = [side for side in (self.seen, self.unseen) if side]
        side = sides[index % len(sides)]
        category = list(side)[index // len(sides) % len(side)]
        shelf = self.shown(side, category)
        count = _weighted(self._possible(shelf), rng)
        names = list(shelf)
        entities = self.look_alikes.choose(names, count, rng) if self.look_alikes else rng.sample(names, count)
        target = rng.randrange(count)
        if entities[target] not in side[category]:
            wanted = rng.choice(list(side[category]))
            entities = [entities[target] if entity == wanted else entity for entity in entities]
            entities[target] = wanted
        photos = tuple(rng.choice(shelf[entity]) for entity in entities)
        return Draw(category, photos, target, _weighted(self.config.layouts, rng), side is self.seen)

    def shown(self, side: Mapping[str, Shelf], category: str) -> Shelf:
        """All entities that a row of `side` (seen or unseen) may show: beside a held-out one, any of its category."""
        return side[category] if side is self.seen else {**self.seen.get(category, {}), **side[category]}

    def _possible(self, shelf: Shelf) -> dict[int, float]:
        return {count: weight for count, weight in self.config.candidates.items() if count <= len(shelf)}

    def check(self) -> None:
        """InputError where a category has too few entities for every wanted number of them."""
        places = [(side, category) for side in (self.seen, self.unseen) for category in side]
        for side, category in places:
            shelf = self.shown(side, category)
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
    """Deal every photo to one split, and count those left over; see `shelve`.

    InputError where a category is left with a single entity, or too few for a picture.
    """
    photos = list(photos)
    pools, left_over = shelve(photos, config, seed)
    test = pools["test"]
    for category in sorted({photo.category for photo in photos}):
        _refuse_lonely(category, {**test.seen.get(category, {}), **test.unseen.get(category, {})})
    for pool in pools.values():
        pool.check()
    return pools, left_over


def shelve(
    photos: Iterable[Photo], config: SynthesisConfig, seed: int, *, fewest: int = 0
) -> tuple[dict[Split, Pool], Tally]:
    """Deal every photo to one split, and count those left over.

    Each entity's photos are dealt by the settings' shares, at least one to each split. Unseen categories and entities
    have no part in training, so their training share goes to the other two splits in proportion. A category with fewer
    than `fewest` entities whose photos suffice is left out. InputError where `seen` or `unseen_entities` name one that
    is not there.
    """
    entities: defaultdict[str, Shelf] = defaultdict(dict)
    for photo in photos:
        entities[photo.category].setdefault(photo.entity, []).append(photo)
    seen = _seen(config.seen, sorted(entities))
    held_out = _held_out(config.unseen_entities, entities)
    shelves: dict[Split, tuple[dict[str, Shelf], dict[str, Shelf]]] = {split: ({}, {}) for split in SPLITS}
    left_over = Tally()
    for category in sorted(entities):
        enough = {}
        for entity, its_photos in sorted(entities[category].items()):
            unseen = category not in seen or entity in held_out
            if len(its_photos) < len(SPLITS) - unseen:
                for photo in its_photos:
                    left_over.add(TOO_FEW, photo.id)
            else:
                enough[entity] = (its_photos, unseen)
        if len(enough) < fewest:
            for its_photos, _ in enough.values():
                for photo in its_photos:
                    left_over.add(f"{LONELY} ('{category}' has {len(enough)}, {fewest} are needed)", photo.id)
            continue
        for entity, (its_photos, unseen) in enough.items():
            splits = SPLITS[1:] if unseen else SPLITS
            shares = [cast(float, getattr(config.splits, split)) for split in splits]
            for split, part in zip(splits, _parts(its_photos, shares, seed), strict=True):
                shelves[split][unseen].setdefault(category, {})[entity] = part
    look_alikes = read_look_alikes(config.look_alikes)
    return {split: Pool(*shelves[split], config, look_alikes) for split in SPLITS}, left_over


def refuse_empty(pools: Mapping[Split, Pool], fewest: int) -> None:
    """InputError where no category is left to test on, for want of `fewest` entities with photos enough."""
    if not pools["test"].seen and not pools["test"].unseen:
        raise InputError(
            f"synthesis.source: no category has {fewest} entities with photos enough for every split; add photos."
        )


def _held_out(wanted: Sequence[str], entities: Mapping[str, Shelf]) -> set[str]:
    there = sorted({entity for shelf in entities.values() for entity in shelf})
    for name in wanted:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "name entities as their folders do."
            raise InputError(f"synthesis.unseen_entities: there is no entity '{name}' among the photos; {hint}")
    return set(wanted)


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
