"""The synthesis stage: from photos of single entities to the datasets of a whole run."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deepperception.artifacts.datasets import read_rows
from deepperception.artifacts.disk import write_text
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.grounding import LETTERS, Sample, Split
from deepperception.progress import Bar, Progress
from deepperception.synthesis.card import FileCounts, write_card
from deepperception.synthesis.compose import refuse_unfit
from deepperception.synthesis.config import SynthesisConfig
from deepperception.synthesis.contact_sheet import write_contact_sheet
from deepperception.synthesis.filter import Filter
from deepperception.synthesis.leakage import benchmark_digest, check
from deepperception.synthesis.pools import Pool, deal, refuse_empty, shelve
from deepperception.synthesis.reason import Explainer, open_teacher
from deepperception.synthesis.replies import Replies
from deepperception.synthesis.rows import FILES, Row, RowMaker
from deepperception.synthesis.shards import Made, Shards, place_shards
from deepperception.synthesis.sources import FaultyPhotos, Photo, Source, open_source

_SHOWN_OF_EACH_FILE = 4
_NAMED = 3


@dataclass(frozen=True)
class Stock:
    """The photos of a source, dealt to the splits. `left_out`: {reason: {"count": n, "examples": [name, ...]}}."""

    photos: Sequence[Photo]
    pools: Mapping[Split, Pool]
    left_out: Mapping[str, Any]

    def lines(self) -> Iterator[str]:
        """How many photos there are, and what was left out: a line for each reason, with a few names."""
        yield f"{len(self.photos):,} photos"
        for reason, found in self.left_out.items():
            names = ", ".join(found["examples"][:_NAMED])
            more = ", ..." if found["count"] > _NAMED else ""
            yield f"left out, {reason}: {found['count']:,} ({names}{more})"


def run(config: SynthesisConfig, out: Path, context: Context, *, box_step: int) -> Manifest:
    """Make a dataset folder: sft, rl, validation and test.parquet, card.json, contact_sheet.png.

    Where `config.questions` asks for choices, its rows are multiple-choice questions (`run_choices`).

    `sft` and `rl` are folders of shards where they have more rows than one holds. All photos are read and checked, and
    compared with the benchmark, before anything is written. Boxes in rows are exact to the thousandth; `box_step` is
    what the boxes in `sft`'s reasoning are rounded to, for a model that counts in larger steps. A complete folder made
    from the same is used again, and of a killed run the shards that it finished. InputError for photos or settings
    that cannot work, or a teacher that is mostly refused.
    """
    if config.questions == "choices":
        from deepperception.synthesis.choices import run_choices

        return run_choices(config, out, context)
    source = open_source(config.source, context.seed)
    stock = _dealt(source, checked_photos(source, out), config, context.seed)
    photos = stock.photos
    context.progress.say(f"{len(photos):,} photos to compose, {_said(stock.left_out)}")

    inputs = {**context.inputs, "photos": photos_digest(photos), **benchmark_digest(config.leakage)}
    key = {"recipe": context.recipe_hash, "seed": context.seed, "inputs": inputs, "box_step": box_step}
    shards = Shards(out.with_name(f"{out.name}.shards"), key)

    def build(folder: Path) -> Outcome:
        leakage = check(photos, config.leakage, out.with_name(f"{out.name}.leakage.json"), context.progress)
        maker = RowMaker(config, stock.pools, context.seed)
        teacher = open_teacher(config.teacher, box_step)
        judge = Filter(config.filter, _names(photos), box_step)
        explain = partial(Explainer, teacher, judge, config.teacher, box_step, context.seed)
        shards.clear_others()
        written = {name: _write(name, config, maker, explain, shards, folder, context.progress) for name in FILES}
        sft = written["sft"]
        context.progress.say(f"teacher: {_added_up(sft)}")
        card = {
            "files": {name: file.counts.as_dict() for name, file in written.items()},
            "photos": {split: pool.photo_count() for split, pool in stock.pools.items()},
            "left_out": stock.left_out,
            "leakage": leakage,
            "reasoning": {"asked": sft.asked, "kept": sft.counts.rows, "refused": dict(sorted(sft.refused.items()))},
        }
        write_card(folder / "card.json", card)
        write_contact_sheet(folder / "contact_sheet.png", _first_of_each(folder))
        return Outcome(
            counts={"photos": len(photos), **{name: file.counts.rows for name, file in written.items()}},
            backend={"teacher": dict(teacher.backend)},
        )

    manifest = once(
        out,
        kind="dataset",
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs=inputs,
        progress=context.progress,
        build=build,
    )
    shards.discard()
    return manifest


def _write(
    name: str,
    config: SynthesisConfig,
    maker: RowMaker,
    explain: Callable[[Replies], Explainer],
    shards: Shards,
    folder: Path,
    progress: Progress,
) -> Made:
    """Make one file of the dataset, as far as a killed run has not; what it holds."""
    wanted = getattr(config.rows, name)
    per_shard = config.rows_per_shard if FILES[name] == "train" else wanted  # a benchmark is one file
    with progress.track(wanted, f"{name} pictures") as bar:

        def make(first: int, count: int, replies: Path) -> tuple[Iterable[Row], Callable[[], Mapping[str, int]]]:
            rows = maker.rows(name, first)
            if name != "sft":
                return _told(itertools.islice(rows, count), bar), dict
            explainer = explain(Replies(replies))
            return _told(explainer.explain(rows, count), bar), lambda: explainer.refused

        files, counts, refused, kept = [], FileCounts(), Counter[str](), 0
        for path, made, there in shards.make(name, wanted, per_shard, make):
            files.append(path)
            counts.update(made.counts)
            refused.update(made.refused)
            if there:
                kept += 1
                bar.advance(made.counts.rows)
    if kept:
        progress.say(f"{name}: {kept} of {len(files)} shards were there from a run that was cut off")
    place_shards(files, folder / f"{name}.parquet")
    return Made(counts, counts.rows + refused.total(), refused)


def _added_up(made: Made) -> str:
    """asked = kept + refused, by reason."""
    refused = [f"{count:,} {reason}" for reason, count in sorted(made.refused.items())]
    return " + ".join([f"{made.asked:,} asked = {made.counts.rows:,} kept", *refused])


def _told(rows: Iterable[Row], bar: Bar) -> Iterator[Row]:
    for row in rows:
        yield row
        bar.advance()


def remake(config: SynthesisConfig, seed: int, file: str, number: int) -> Row:
    """Row `number` of a file, as `run` made it, alone; without its reasoning. The number is in its question_id."""
    stock = survey(config, seed, box_step=1)
    return RowMaker(config, stock.pools, seed).row(file, number)


def survey(config: SynthesisConfig, seed: int, *, box_step: int) -> Stock:
    """All that `run` would find out before it composes the first picture; writes nothing. InputError as there."""
    open_teacher(config.teacher, box_step)
    if config.questions == "choices":
        source = open_source(config.source.model_copy(update={"boxed": False}), seed)
        photos = list(source.photos())
        pools, left_over = shelve(photos, config, seed, fewest=len(LETTERS))
        refuse_empty(pools, len(LETTERS))
        return Stock(photos, pools, source.report() | left_over.as_dict())
    source = open_source(config.source, seed)
    return _dealt(source, list(source.photos()), config, seed)


def _dealt(source: Source, photos: list[Photo], config: SynthesisConfig, seed: int) -> Stock:
    pools, left_over = deal(photos, config, seed)
    refuse_unfit(photos, config.layouts, config.canvas)
    return Stock(photos, pools, source.report() | left_over.as_dict())


def checked_photos(source: Source, out: Path) -> list[Photo]:
    """All photos of the source. Several faulty ones are listed in a file beside `out`, and told in one sentence."""
    listing = out.with_name(f"{out.name}.faults.txt")
    listing.unlink(missing_ok=True)
    try:
        return list(source.photos())
    except FaultyPhotos as error:
        if len(error.faults) == 1:
            raise
        write_text(listing, "\n".join(error.faults) + "\n")
        raise InputError(error.sentence(listed_in=str(listing))) from None


def photos_digest(photos: Iterable[Photo]) -> str:
    """Of all that the photos put into the rows."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(
            f"{(photo.id, photo.category, photo.entity, photo.box, photo.size, photo.licence, photo.digest)}\n".encode()
        )
    return f"sha256:{digest.hexdigest()}"


def _names(photos: Iterable[Photo]) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for photo in photos:
        names.setdefault(photo.category, set()).add(photo.entity)
    return names


def _first_of_each(folder: Path) -> Iterator[Sample]:
    for name in FILES:
        yield from itertools.islice(read_rows(folder / f"{name}.parquet"), _SHOWN_OF_EACH_FILE)


def _said(left_out: Mapping[str, Any]) -> str:
    """What was left out, in words."""
    parts = [f"{found['count']:,} left out: {reason}" for reason, found in left_out.items()]
    return "; ".join(parts) or "none left out"
