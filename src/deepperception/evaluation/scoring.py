"""Replies held against a benchmark, as both are read: what is in memory at once does not grow with what they hold.

For each case 29 bytes are kept: 21 of the index of replies, and 8 to know its question_id by. Sorting them takes as
much again.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepperception.artifacts.datasets import count_rows, question_ids, rows_or_faults
from deepperception.artifacts.disk import write_text
from deepperception.artifacts.evaluations import METRICS, Case, write_cases
from deepperception.errors import InputError
from deepperception.evaluation.metrics import Tally, score
from deepperception.evaluation.replies import Answer, ReplyIndex, listed
from deepperception.evaluation.shards import WHOLE, Shard
from deepperception.grounding import Sample
from deepperception.progress import Progress

MOST_NAMED = 1000
"""Faults that metrics.json names one by one; it counts all of them."""
_AT_ONCE = 512


@dataclass(frozen=True)
class Scored:
    """What the files that were written come to."""

    cases: int
    accuracies: Mapping[str, float | None]
    """By split, on the official scores."""


@dataclass
class _Faults:
    """Rows and replies that are not as they should be: how many, and the first of each kind by name."""

    left_out: int = 0
    pictures: int = 0
    missing: int = 0
    named: dict[str, list[str]] = field(default_factory=lambda: {"left_out": [], "pictures": [], "missing": []})

    def count(self, kind: str, name: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.named[kind]) < MOST_NAMED:
            self.named[kind].append(name)


def check_ids(benchmark: Path, shard: Shard = WHOLE) -> int:
    """How many questions the shard has; InputError where two rows of the benchmark have the same question_id.

    Comparisons pair the cases of two models by it, and replies are found by it.
    """
    hashes, held = array("q"), 0
    for question_id in question_ids(benchmark):
        if question_id:
            hashes.append(hash(question_id))
            held += shard.holds(question_id) if shard is not WHOLE else 1
    if hashes:
        ordered = np.sort(np.frombuffer(hashes, np.int64))
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(again):
            _refuse_repeated(benchmark, set(again.tolist()))
    return held


def _refuse_repeated(benchmark: Path, hashes: Collection[int]) -> None:
    first: dict[str, int] = {}
    for row, question_id in enumerate(question_ids(benchmark), start=1):
        if not question_id or hash(question_id) not in hashes:
            continue
        if (earlier := first.setdefault(question_id, row)) != row:
            raise InputError(
                f"{benchmark}, row {row}: question_id {question_id!r} is that of row {earlier} too; "
                "give every row an id of its own."
            )


def score_benchmark(
    replies: ReplyIndex,
    benchmark: Path,
    digest: str,
    backend: Mapping[str, Any],
    folder: Path,
    progress: Progress,
    *,
    seen: Collection[str] | None,
    given: bool,
) -> Scored:
    """Writes metrics.json and cases.jsonl to `folder`, the cases in the benchmark's order.

    Rows of the benchmark that cannot be scored are left out, questions without a reply count as wrong; all are counted
    and named. `given` replies were made elsewhere: of those, what the benchmark does not ask for is told too.
    InputError where there is nothing to score, or none of the replies belongs to the benchmark.
    """
    faults, tally = _Faults(), Tally()
    write_cases(folder, _cases(replies, benchmark, seen, tally, faults, progress))
    if not tally.cases:
        raise InputError(
            f"{benchmark}: no row can be scored ({faults.named['left_out'][0]})"
            if faults.left_out
            else f"{benchmark}: the benchmark has no rows; give one with at least one question."
        )
    about: dict[str, Any] = {"file": benchmark.name, "digest": digest, "cases": tally.cases}
    about |= {"left_out": faults.left_out, "unreadable_pictures": faults.pictures}
    if named := faults.named["left_out"] + faults.named["pictures"]:
        about["faults"] = named
    result = tally.metrics(benchmark=about, backend=backend)
    if given:
        result["predictions"] = _about_given(replies, faults, tally.cases)
    for line in fault_lines(result):
        progress.say(line)
    write_text(folder / METRICS, json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    official = result["official"]
    return Scored(tally.cases, {split: official[split]["accuracy"] for split in ("all", "seen", "unseen")})


def fault_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What is worth knowing about the input beside its scores, a line for each kind; none where all is well."""
    about, given, lines = metrics["benchmark"], metrics.get("predictions", {}), []
    if left_out := about.get("left_out"):
        lines.append(f"{left_out} rows of the benchmark left out: {listed(about['faults'], left_out)}")
    if about.get("unreadable_pictures"):
        named = about["faults"][min(about["left_out"], MOST_NAMED) :]
        lines.append(
            f"{about['unreadable_pictures']} pictures that cannot be read, counted as wrong: "
            f"{listed(named, about['unreadable_pictures'])}"
        )
    if given.get("missing"):
        names = listed(given["missing_ids"], given["missing"])
        lines.append(f"no reply to {given['missing']} of the questions, counted as wrong: {names}")
    if given.get("unknown"):
        names = listed(given["unknown_ids"], given["unknown"])
        lines.append(f"{given['unknown']} replies to questions that the benchmark has not, left out: {names}")
    if given.get("repeated"):
        lines.append(f"{given['repeated']} rows of the predictions repeat an earlier one word for word")
    return lines


def _cases(
    replies: ReplyIndex,
    benchmark: Path,
    seen: Collection[str] | None,
    tally: Tally,
    faults: _Faults,
    progress: Progress,
) -> Iterator[Case]:
    rows = rows_or_faults(benchmark, seen=seen, pictures=False)
    with progress.track(count_rows(benchmark), f"scoring {benchmark.stem}") as bar:
        while some := list(islice(rows, _AT_ONCE)):
            samples = [row for row in some if isinstance(row, Sample)]
            for fault in (row for row in some if not isinstance(row, Sample)):
                faults.count("left_out", str(fault))
            answers = replies.find([sample.question_id for sample in samples])
            for sample, answer in zip(samples, answers, strict=True):
                case = _case(sample, answer, faults)
                tally.add(case)
                yield case
            bar.advance(len(some), note=f"accuracy {tally.correct / max(tally.cases, 1):.3f}")


def _case(sample: Sample, answer: Answer | None, faults: _Faults) -> Case:
    if answer is None:
        faults.count("missing", sample.question_id)
        return score(sample, ())
    if answer.fault:
        faults.count("pictures", answer.fault)
    return score(sample, answer.replies, description=answer.description)


def _about_given(replies: ReplyIndex, faults: _Faults, cases: int) -> dict[str, Any]:
    unknown, named = replies.unused(MOST_NAMED)
    if faults.missing == cases:
        where = f"{named[0][0]}: the benchmark has no question_id {named[0][1]!r}" if named else "there are no rows"
        raise InputError(
            f"{replies.paths[0]}: no row answers any of the {cases} questions ({where}); give the predictions "
            "that were made for this benchmark."
        )
    return {
        "rows": len(replies),
        "missing": faults.missing,
        "missing_ids": faults.named["missing"],
        "unknown": unknown,
        "unknown_ids": [f"{place}, question_id {question_id!r}" for place, question_id in named],
        "repeated": replies.repeated,
    }
