"""A benchmark of the user's own: labelled photos, split before they are composed, with no teacher and no training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepperception.artifacts.datasets import write_rows
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.grounding import Sample
from deepperception.progress import Bar
from deepperception.statistics import smallest_gain
from deepperception.synthesis.card import FileCounts, write_card
from deepperception.synthesis.compose import refuse_unfit
from deepperception.synthesis.config import SynthesisConfig
from deepperception.synthesis.contact_sheet import write_contact_sheet
from deepperception.synthesis.pools import SPLITS, Pool, refuse_empty, shelve
from deepperception.synthesis.rows import RowMaker
from deepperception.synthesis.run import checked_photos, photos_digest
from deepperception.synthesis.sources import open_source

DISAGREEMENTS = (0.1, 0.2, 0.3)
"""Shares of the cases that one of two models has right and the other wrong; a card tells what each would mean."""
_SHOWN = 12


@dataclass
class _Counts(FileCounts):
    """What one split's rows hold, and how many different photos they ask about."""

    asked: set[str] = field(default_factory=set)

    def add(self, sample: Sample, layout: str) -> None:
        super().add(sample, layout)
        entities = [thing.entity for thing in sample.objects]
        self.asked.add(sample.sources[entities.index(sample.entity)].id)

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "photos_asked_for": len(self.asked)}


def run(config: SynthesisConfig, out: Path, context: Context) -> Manifest:
    """Make a benchmark folder: train, validation and test.parquet, card.json, contact_sheet.png.

    No photo is in two of the files. A category is in every split that its photos suffice for, and left out, counted,
    where fewer than two of its entities have enough. `rows.rl` is the length of train.parquet, whose rows have boxes
    and no reasoning; the other two go by their own settings. InputError for photos or settings that cannot work.
    """
    source = open_source(config.source, context.seed)
    photos = checked_photos(source, out)
    pools, left_over = shelve(photos, config, context.seed, fewest=2)
    refuse_empty(pools, 2)
    for pool in pools.values():
        pool.check()
    refuse_unfit(photos, config.layouts, config.canvas)
    lengths = {"train": config.rows.rl, "validation": config.rows.validation, "test": config.rows.test}

    def build(folder: Path) -> Outcome:
        maker = RowMaker(config, pools, context.seed)
        counts = {split: _Counts() for split in lengths}
        shown: list[Sample] = []
        for split, wanted in lengths.items():
            with context.progress.track(wanted, f"{split} pictures") as bar:
                rows = _counted(maker, split, wanted, counts[split], shown, bar)
                write_rows(folder / f"{split}.parquet", rows)
        _assert_apart(counts)
        card = {
            "files": {split: counts[split].as_dict() for split in lengths},
            "photos": {split: photos_by_category(pools[split]) for split in SPLITS},
            "held_out": {"categories": _unseen_categories(pools), "entities": list(config.unseen_entities)},
            "left_out": source.report() | left_over.as_dict(),
            "smallest_gain": {split: gains(lengths[split]) for split in ("validation", "test")},
        }
        write_card(folder / "card.json", card)
        write_contact_sheet(folder / "contact_sheet.png", shown)
        return Outcome(counts={"photos": len(photos), **{split: counts[split].rows for split in lengths}})

    return once(
        out,
        kind="dataset",
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs={**context.inputs, "made": "benchmark", "photos": photos_digest(photos)},
        progress=context.progress,
        build=build,
    )


def seen_without(unseen: Sequence[str], config: SynthesisConfig, seed: int) -> list[str]:
    """All categories of the source but the `unseen` ones; InputError for a name that is none of them."""
    categories = sorted({photo.category for photo in open_source(config.source, seed).photos()})
    if unknown := sorted(set(unseen) - set(categories)):
        raise InputError(f"--unseen: there is no category '{unknown[0]}'; there are: {', '.join(categories)}.")
    if not set(categories) - set(unseen):
        raise InputError("--unseen: every category is held out; leave one to train on.")
    return [name for name in categories if name not in unseen]


def gains(cases: int) -> dict[str, float | None]:
    """Share of disagreement -> the smallest gain that a paired test on so many cases shows in 8 of 10 tries."""
    return {f"{share:g}": smallest_gain(cases, share) for share in DISAGREEMENTS}


def photos_by_category(pool: Pool) -> dict[str, dict[str, int]]:
    """Category -> {"seen": photos, "unseen": photos}."""
    return {
        category: {
            name: sum(map(len, side.get(category, {}).values()))
            for name, side in (("seen", pool.seen), ("unseen", pool.unseen))
        }
        for category in sorted({*pool.seen, *pool.unseen})
    }


def _counted(
    maker: RowMaker, split: str, wanted: int, counts: _Counts, shown: list[Sample], bar: Bar
) -> Iterator[Sample]:
    for number, row in enumerate(itertools.islice(maker.rows(split), wanted)):
        counts.add(row.sample, row.layout)
        if number < _SHOWN // len(SPLITS):
            shown.append(row.sample)
        yield row.sample
        bar.advance()


def _assert_apart(counts: Mapping[str, _Counts]) -> None:
    for a, b in itertools.combinations(counts.values(), 2):
        assert not a.photos & b.photos, "a photo is in two splits"


def _unseen_categories(pools: Mapping[Any, Pool]) -> list[str]:
    return sorted(pools["test"].unseen.keys() - pools["test"].seen.keys())
