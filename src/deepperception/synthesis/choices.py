"""Multiple-choice data (the paper's FGVR): a photo, its entity's name among three others of its category."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from deepperception.artifacts.choice_rows import write_choices
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.grounding import LETTERS, ChoiceSample, Source, Split, choice_question
from deepperception.inference.engine import Decoding, Engine, Request
from deepperception.progress import Bar
from deepperception.synthesis.benchmark import photos_by_category
from deepperception.synthesis.card import write_card
from deepperception.synthesis.compose import encode
from deepperception.synthesis.config import SynthesisConfig
from deepperception.synthesis.filter import markup_in
from deepperception.synthesis.pools import Pool, refuse_empty, shelve
from deepperception.synthesis.reason import open_teacher
from deepperception.synthesis.rows import FILES
from deepperception.synthesis.run import checked_photos, photos_digest
from deepperception.synthesis.sources import Photo, open_source


@dataclass(frozen=True)
class ChoiceMaker:
    """Rows of any file. In validation and test no photo is asked about twice; training goes round and round."""

    config: SynthesisConfig
    pools: Mapping[Split, Pool]
    seed: int

    def rows(self, file: str, wanted: int) -> Iterator[ChoiceSample]:
        """At most `wanted` rows: categories take turns, and in each its photos in an order that the seed decides."""
        split, pool = FILES[file], self.pools[FILES[file]]
        stacks = [
            (side is pool.seen, category, self._stack(file, category, [*side[category].values()]))
            for side in (pool.seen, pool.unseen)
            for category in side
        ]
        made = 0
        for turn in itertools.count():
            photos = [(seen, category, _at(stack, turn, split == "train")) for seen, category, stack in stacks]
            for seen, category, photo in photos:
                if made == wanted:
                    return
                if photo is not None:
                    yield self._row(file, made, category, photo, seen)
                    made += 1
            if not any(photo for _, _, photo in photos):
                return

    def _stack(self, file: str, category: str, shelves: Sequence[Sequence[Photo]]) -> list[Photo]:
        photos = [photo for shelf in shelves for photo in shelf]
        Random(f"{self.seed}/{file}/{category}").shuffle(photos)
        return photos

    def _row(self, file: str, index: int, category: str, photo: Photo, seen: bool) -> ChoiceSample:
        rng = Random(f"{self.seed}/{file}/{index}")
        pool = self.pools[FILES[file]]
        names = {**pool.seen.get(category, {}), **pool.unseen.get(category, {})}.keys() - {photo.entity}
        choices = [photo.entity, *rng.sample(sorted(names), len(LETTERS) - 1)]
        rng.shuffle(choices)
        return ChoiceSample(
            question_id=f"{category}/{index}",
            category=category,
            question=choice_question(category, choices),
            choices=tuple(choices),
            answer=LETTERS[choices.index(photo.entity)],
            image=encode(_shrunk(photo.load(), self.config.canvas.max_side), self.config.canvas),
            sources=(Source(photo.id, photo.licence),),
            split=FILES[file],
            seen=seen,
        )


def run_choices(config: SynthesisConfig, out: Path, context: Context) -> Manifest:
    """Make a dataset folder: sft, rl, validation and test.parquet with multiple-choice rows, and card.json.

    Photos need no boxes. A category with fewer than four entities is left out, counted and named. `sft` has a teacher's
    reasoning. InputError for photos or settings that cannot work, or a teacher that is mostly refused.
    """
    source = open_source(config.source.model_copy(update={"boxed": False}), context.seed)
    photos = checked_photos(source, out)
    pools, left_over = shelve(photos, config, context.seed, fewest=len(LETTERS))
    refuse_empty(pools, len(LETTERS))
    if not pools["train"].seen:
        raise InputError("synthesis.seen: no category is left to train on; name one with four entities or more.")
    maker = ChoiceMaker(config, pools, context.seed)

    def build(folder: Path) -> Outcome:
        explainer = _Explainer(open_teacher(config.teacher, 1), config, context.seed)
        card: dict[str, Any] = {"files": {}}
        for file in FILES:
            wanted = getattr(config.rows, file)
            counts: Counter[tuple[str, str]] = Counter()
            with context.progress.track(wanted, f"{file} questions") as bar:
                rows = maker.rows(file, wanted)
                written = write_choices(
                    folder / f"{file}.parquet",
                    _counted(explainer.explain(rows) if file == "sft" else rows, counts, bar),
                )
            card["files"][file] = {"rows": written, **_by_category(counts)}
        card |= {
            "photos": {split: photos_by_category(pool) for split, pool in pools.items()},
            "left_out": source.report() | left_over.as_dict(),
            "reasoning": {"kept": explainer.kept, "refused": dict(sorted(explainer.refused.items()))},
        }
        write_card(folder / "card.json", card)
        return Outcome(
            counts={"photos": len(photos), **{file: card["files"][file]["rows"] for file in FILES}},
            backend={"teacher": dict(explainer.teacher.backend)},
        )

    return once(
        out,
        kind="dataset",
        recipe_hash=context.recipe_hash,
        seed=context.seed,
        inputs={**context.inputs, "photos": photos_digest(photos)},
        progress=context.progress,
        build=build,
    )


def choice_request(sample: ChoiceSample) -> str:
    """What a teacher is asked. Lines that begin with `category:`, a letter or `Right:` are for a machine."""
    choices = "\n".join(f"{letter}. {name}" for letter, name in zip(LETTERS, sample.choices, strict=True))
    return f"""The picture shows one object, and it is one of four.
category: {sample.category}
{choices}
Right: {sample.answer}. {sample.entity}

Write down how an expert tells which of the four it is, as if the answer were not known yet.
1. Look: say what is seen of the features that tell the four apart.
2. Compare: go through the choices one by one and say what is known of each, and where it differs from what is seen.
3. Conclude: end with the right choice.
Use plain text."""


class _Explainer:
    """Adds a teacher's reasoning to rows, and leaves out those that it cannot explain."""

    def __init__(self, teacher: Engine, config: SynthesisConfig, seed: int) -> None:
        self.teacher, self.config, self.seed = teacher, config, seed
        self.kept = 0
        self.refused: Counter[str] = Counter()

    def explain(self, rows: Iterator[ChoiceSample]) -> Iterator[ChoiceSample]:
        decoding = Decoding(self.config.teacher.max_new_tokens, self.config.teacher.temperature, seed=self.seed)
        while batch := list(itertools.islice(rows, self.config.teacher.batch_size)):
            requests = [Request(choice_request(row), row.image, row.question_id) for row in batch]
            for row, replies in zip(batch, self.teacher.generate(requests, decoding), strict=True):
                reasoning = replies[0].strip()
                if reason := self._refusal(reasoning, row):
                    self.refused[reason] += 1
                else:
                    self.kept += 1
                    yield replace(row, reasoning=reasoning)
            asked = self.kept + self.refused.total()
            if self.kept < self.config.filter.min_kept * asked:
                raise InputError(
                    f"synthesis.teacher: only {self.kept} of {asked} explanations could be kept "
                    f"({json.dumps(dict(self.refused))}); give a better teacher, or lower synthesis.filter.min_kept."
                )

    def _refusal(self, reasoning: str, row: ChoiceSample) -> str | None:
        if not reasoning:
            return "empty"
        if len(reasoning) > self.config.filter.max_characters:
            return "too long"
        if markup_in(reasoning):
            return "holds markup"
        return None if row.entity.casefold() in reasoning.casefold() else "right choice not named"


def _at(stack: Sequence[Photo], turn: int, again: bool) -> Photo | None:
    return stack[turn % len(stack)] if again or turn < len(stack) else None


def _shrunk(image: Image.Image, max_side: int) -> Image.Image:
    """No side longer than `max_side` pixels; a small picture keeps its own."""
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _counted(rows: Iterator[ChoiceSample], counts: Counter[tuple[str, str]], bar: Bar) -> Iterator[ChoiceSample]:
    for row in rows:
        counts[row.category, "seen" if row.seen else "unseen"] += 1
        yield row
        bar.advance()


def _by_category(counts: Counter[tuple[str, str]]) -> dict[str, Any]:
    return {
        "seen": sum(number for (_, side), number in counts.items() if side == "seen"),
        "unseen": sum(number for (_, side), number in counts.items() if side == "unseen"),
        "categories": {
            name: counts[name, "seen"] + counts[name, "unseen"] for name in sorted({name for name, _ in counts})
        },
    }
