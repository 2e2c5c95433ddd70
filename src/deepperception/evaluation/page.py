"""The page of one evaluation: report.html, one file that needs no network and nothing beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepperception.artifacts.choice_cases import CHOICES, ChoiceCase, read_choice_cases
from deepperception.artifacts.choice_rows import read_choices
from deepperception.artifacts.datasets import sound_rows
from deepperception.artifacts.disk import write_text
from deepperception.artifacts.evaluations import read_cases, read_metrics
from deepperception.evaluation.charts import category_chart
from deepperception.evaluation.html import data_uri, page_template
from deepperception.evaluation.mistakes import KINDS, Confusion, Tally, judge
from deepperception.evaluation.published import published_for
from deepperception.evaluation.table import SPLITS
from deepperception.evaluation.tiles import Tile, TileMaker, choose_tiles
from deepperception.statistics import smallest_gain

PAGE = "report.html"
Finish = Callable[[Path], None]
"""Writes more into an evaluation's folder before it is sealed; `page_writer` makes one."""
LETTER_KINDS = ("right", "a look-alike", "no letter")
_CONFUSIONS = 15
_DISAGREEMENTS = (0.1, 0.2, 0.3)


@dataclass(frozen=True)
class _Findings:
    """What the cases say, boxes or letters: kinds of answers, who is taken for whom, and what is drawn."""

    kinds: Mapping[str, int]
    confusions: Sequence[Confusion]
    tiles: Sequence[Tile]
    unseen: Collection[str]


def page_writer(name: str, benchmark: Path, *, seen: Collection[str] | None = None) -> Finish:
    """For the last step of an evaluation: writes the page of the folder that it is called with."""
    return lambda evaluation: write_page(evaluation, benchmark, evaluation / PAGE, name=name, seen=seen)


def write_page(evaluation: Path, benchmark: Path, out: Path, *, name: str, seen: Collection[str] | None = None) -> None:
    """Write the page of an evaluation folder. The same evaluation gives the same bytes.

    `benchmark` is the file that it was made on: its pictures are shown, and its objects tell what was boxed instead.
    At most 160 cases are shown and 6 MB of pictures; what is chosen follows a rule (`choose_tiles`).
    """
    metrics = read_metrics(evaluation)
    of_letters = metrics.get("kind") == CHOICES
    found = _of_letters(evaluation, benchmark, seen) if of_letters else _of_boxes(evaluation, benchmark, seen)
    chart = category_chart({name: metrics["official"]}, found.unseen)
    cases = metrics["official"]["all"]["cases"]
    write_text(
        out,
        page_template("page.html.j2").render(
            name=name,
            metrics=metrics,
            of_letters=of_letters,
            splits=[split for split in SPLITS if metrics["official"][split]["cases"]],
            chart=data_uri(chart),
            found=found,
            gains=[(share, smallest_gain(cases, share)) for share in _DISAGREEMENTS],
            published=None if of_letters else published_for(metrics),
            categories=sorted({tile.category for tile in found.tiles}),
            kinds=[kind for kind in (LETTER_KINDS if of_letters else KINDS) if found.kinds.get(kind)],
        ),
    )


def _of_boxes(evaluation: Path, benchmark: Path, seen: Collection[str] | None) -> _Findings:
    cases = {case.question_id: case for case in read_cases(evaluation)}
    tally, kinds = Tally(), dict[str, str]()
    for sample in sound_rows(benchmark, seen=seen, pictures=False):
        if case := cases.get(sample.question_id):
            tally.add(case, sample.objects)
            kinds[case.question_id] = judge(case, sample.objects).kind
    chosen = choose_tiles([case for case in cases.values() if case.question_id in kinds], kinds)
    places = {case.question_id: place for place, case in enumerate(chosen)}
    samples = {row.question_id: row for row in sound_rows(benchmark, seen=seen) if row.question_id in places}
    maker = TileMaker(kinds)
    tiles = [maker.of_box(case, samples[case.question_id]) for case in chosen]
    unseen = {case.category for case in cases.values() if not case.seen}
    counts: dict[str, int] = {kind: tally.kinds[kind] for kind in KINDS}
    return _Findings(counts, tally.confusions(_CONFUSIONS), tiles, unseen)


def _of_letters(evaluation: Path, benchmark: Path, seen: Collection[str] | None) -> _Findings:
    cases = {case.question_id: case for case in read_choice_cases(evaluation)}
    kinds = {case.question_id: _letter_kind(case) for case in cases.values()}
    chosen = choose_tiles(list(cases.values()), kinds)
    wanted = {case.question_id for case in chosen}
    samples = {row.question_id: row for row in read_choices(benchmark, seen=seen) if row.question_id in wanted}
    confused = Counter(
        (case.category, case.entity, case.chosen) for case in cases.values() if case.chosen not in (None, case.entity)
    )
    ranked = sorted(confused.items(), key=lambda item: (-item[1], item[0]))[:_CONFUSIONS]
    confusions = [Confusion(category, asked, str(boxed), count) for (category, asked, boxed), count in ranked]
    maker = TileMaker(kinds)
    tiles = [maker.of_letter(case, samples[case.question_id]) for case in chosen]
    unseen = {case.category for case in cases.values() if not case.seen}
    return _Findings(Counter(kinds.values()), confusions, tiles, unseen)


def _letter_kind(case: ChoiceCase) -> str:
    if case.correct:
        return "right"
    return "no letter" if case.letter is None or case.tolerantly_correct else "a look-alike"
