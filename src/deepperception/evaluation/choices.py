"""Scores on multiple choice: the letter that a reply answers with, held against the right one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from deepperception.artifacts.checkpoints import Interface, check_checkpoint, read_interface
from deepperception.artifacts.choice_cases import CHOICES, ChoiceCase
from deepperception.artifacts.choice_rows import read_choices
from deepperception.artifacts.datasets import count_rows
from deepperception.artifacts.disk import write_text
from deepperception.artifacts.evaluations import CASES, METRICS
from deepperception.artifacts.manifest import MANIFEST, Manifest, payload_digest, read_manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.evaluation.answers import Manner, file_digest
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.metrics import MISSING
from deepperception.evaluation.page import Finish
from deepperception.evaluation.replies import Answer, ReplyIndex, text_in
from deepperception.grounding import ChoiceSample, choice_prompt, read_letter, turns
from deepperception.inference.engine import Decoding, Engine, Request
from deepperception.inference.open import OpenEngine, backend_of, opener
from deepperception.statistics import wilson

_AT_ONCE = 512


@dataclass(frozen=True)
class Replies:
    """What made them, as metrics.json names it, and each row with its reply: None where there is none."""

    backend: Mapping[str, Any]
    rows: Iterator[tuple[ChoiceSample, str | None]]
    about: Callable[[], dict[str, Any]] | None = None
    """Of replies that were made elsewhere, called once all rows are drawn: what is worth noting beside the scores."""


def evaluate_model_on_choices(
    config: EvaluationConfig,
    benchmark: Path,
    model: Path,
    out: Path,
    context: Context,
    *,
    seen: Collection[str] | None = None,
    open_engine: OpenEngine | None = None,
    finish: Finish | None = None,
) -> Manifest:
    """Scores a checkpoint folder on a multiple-choice file: metrics.json and cases.jsonl in `out`.

    Asked as the model is asked for boxes, without the boxes: r1 becomes the paper's FGVR prompt.
    """
    check_checkpoint(model)
    if config.samples > 1:
        raise InputError(f"{benchmark}: multiple choice is scored by one reply to a question; leave samples at 1.")
    interface = read_interface(model)
    manner = manner_for_choices(config, interface)
    opened = open_engine or opener(config.engine)

    def replies(closing: ExitStack) -> Replies:
        engine = opened(model, max_pixels=config.max_pixels or interface.max_pixels, batch_size=config.batch_size)
        asked = ask_choices(engine, manner, read_choices(benchmark, seen=seen), benchmark)
        return Replies({**engine.backend, **dataclasses.asdict(manner)}, asked)

    digest = read_manifest(model).digest if (model / MANIFEST).exists() else payload_digest(model)
    inputs = {"benchmark": file_digest(benchmark), "model": digest}
    asked = {**dataclasses.asdict(manner), "backend": backend_of(config.engine)}
    return _evaluate(replies, benchmark, out, context, inputs, {**asked, "seen": _listed(seen)}, finish)


def evaluate_predictions_on_choices(
    benchmark: Path,
    predictions: Path,
    out: Path,
    context: Context,
    *,
    seen: Collection[str] | None = None,
    finish: Finish | None = None,
) -> Manifest:
    """Scores a file of replies made elsewhere: rows {"question_id", "text"}.

    A question without a row counts as answered wrongly (form `missing`), rows of other questions are left out; both are
    counted. InputError for a malformed row, and for two different replies to a question.
    """
    inputs = {"benchmark": file_digest(benchmark), "predictions": file_digest(predictions)}

    def replies(closing: ExitStack) -> Replies:
        index = ReplyIndex([predictions], lambda row: Answer((text_in(row, "text"),)))
        closing.callback(index.close)
        backend = dict.fromkeys(("version", "dtype", "prompt", "decoding", "max_pixels")) | {"engine": "predictions"}
        return Replies(backend, _found(index, read_choices(benchmark, seen=seen)), lambda: _about(index))

    return _evaluate(replies, benchmark, out, context, inputs, {"seen": _listed(seen)}, finish)


def _found(index: ReplyIndex, rows: Iterator[ChoiceSample]) -> Iterator[tuple[ChoiceSample, str | None]]:
    while some := list(islice(rows, _AT_ONCE)):
        for row, answer in zip(some, index.find([row.question_id for row in some]), strict=True):
            yield row, answer.replies[0] if answer else None


def _about(index: ReplyIndex) -> dict[str, Any]:
    unknown, named = index.unused(_AT_ONCE)
    ids = [f"{place}, question_id {question_id!r}" for place, question_id in named]
    return {"rows": len(index), "unknown": unknown, "unknown_ids": ids, "repeated": index.repeated}


def manner_for_choices(config: EvaluationConfig, interface: Interface) -> Manner:
    """How a model is asked for a letter: its own way, unless `config` says otherwise."""
    tokens = config.max_new_tokens or interface.max_new_tokens
    return Manner(
        prompt=choice_prompt(config.prompt or interface.prompt),
        decoding=Decoding(tokens, config.temperature, 1, config.sampling_seed),
        max_pixels=config.max_pixels or interface.max_pixels,
    )


def ask_choices(
    engine: Engine, manner: Manner, rows: Iterable[ChoiceSample], benchmark: Path
) -> Iterator[tuple[ChoiceSample, str | None]]:
    """Each row with its reply; None where its picture cannot be read. The engine draws rows a bounded number ahead."""
    waiting: deque[ChoiceSample] = deque()
    drawn = manner.decoding.temperature > 0

    def requests() -> Iterator[Request]:
        for number, row in enumerate(rows):
            waiting.append(row)
            yield Request(
                turns(manner.prompt, row.question)[0],
                row.image,
                name=f"{benchmark}, question_id {row.question_id!r}",
                seed=manner.decoding.seed * 1_000_003 + number if drawn else None,
                or_nothing=True,
            )

    for replies in engine.generate(requests(), manner.decoding):
        yield waiting.popleft(), replies[0] if replies else None


def score_choice(sample: ChoiceSample, reply: str | None) -> ChoiceCase:
    """The reply, read; none at all is wrong."""
    text = reply or ""
    letter, form = read_letter(text, sample.choices)
    return ChoiceCase(
        question_id=sample.question_id,
        category=sample.category,
        seen=sample.seen,
        choices=sample.choices,
        answer=sample.answer,
        text=text,
        letter=letter,
        form=MISSING if reply is None else form,
    )


def choice_metrics(
    cases: Sequence[ChoiceCase], *, benchmark: Mapping[str, Any], backend: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of metrics.json, laid out as for boxes.

    `official` counts a right letter that is written as one; `robust` also a choice told by its name or in a sentence.
    """
    forms = Counter(case.form for case in cases)
    return {
        "kind": CHOICES,
        "benchmark": dict(benchmark),
        "backend": dict(backend),
        "official": _scores(cases, lambda case: case.correct),
        "robust": {**_scores(cases, lambda case: case.tolerantly_correct), "forms": dict(sorted(forms.items()))},
    }


def _evaluate(
    replies: Callable[[ExitStack], Replies],
    benchmark: Path,
    out: Path,
    context: Context,
    inputs: Mapping[str, str],
    asked: Mapping[str, Any],
    finish: Finish | None,
) -> Manifest:
    def build(folder: Path) -> Outcome:
        with ExitStack() as closing:
            return score_in(folder, replies(closing))

    def score_in(folder: Path, made: Replies) -> Outcome:
        cases = list(_scored(made, benchmark, context))
        about = {"file": benchmark.name, "digest": inputs["benchmark"], "cases": len(cases)}
        result = choice_metrics(cases, benchmark=about, backend=made.backend)
        if missing := result["robust"]["forms"].get(MISSING):
            context.progress.say(f"no reply to {missing} of the questions, counted as wrong")
        if made.about:
            result["predictions"] = {**made.about(), "missing": missing or 0}
            if unknown := result["predictions"]["unknown"]:
                context.progress.say(f"{unknown} replies to questions that the benchmark has not, left out")
        lines = (json.dumps(dataclasses.asdict(case), ensure_ascii=False) for case in cases)
        write_text(folder / CASES, "".join(f"{line}\n" for line in lines))
        write_text(folder / METRICS, json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        if finish:
            finish(folder)
        return Outcome(
            counts={"cases": len(cases)},
            metrics={split: result["official"][split]["accuracy"] for split in ("all", "seen", "unseen")},
            backend=made.backend,
        )

    named = {**asked, "kind": CHOICES, "finished": finish is not None}
    return once(
        out,
        kind="evaluation",
        recipe_hash=f"sha256:{hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()}",
        seed=context.seed,
        inputs=inputs,
        progress=context.progress,
        build=build,
    )


def _scored(replies: Replies, benchmark: Path, context: Context) -> Iterator[ChoiceCase]:
    asked: set[str] = set()
    right = 0
    with context.progress.track(count_rows(benchmark), f"scoring {benchmark.stem}") as bar:
        for sample, text in replies.rows:
            if sample.question_id in asked:
                raise InputError(
                    f"{benchmark}: question_id {sample.question_id!r} comes twice; give every row its own."
                )
            asked.add(sample.question_id)
            case = score_choice(sample, text)
            right += case.correct
            bar.advance(note=f"accuracy {right / len(asked):.3f}")
            yield case
    if not asked:
        raise InputError(f"{benchmark}: the benchmark has no rows; give one with at least one question.")


def _listed(seen: Collection[str] | None) -> list[str] | None:
    return None if seen is None else sorted(seen)


def _scores(cases: Sequence[ChoiceCase], right: Callable[[ChoiceCase], bool]) -> dict[str, Any]:
    categories = sorted({case.category for case in cases})
    return {
        "all": _score([right(case) for case in cases]),
        "seen": _score([right(case) for case in cases if case.seen]),
        "unseen": _score([right(case) for case in cases if not case.seen]),
        "categories": {name: _score([right(case) for case in cases if case.category == name]) for name in categories},
    }


def _score(right: Sequence[bool]) -> dict[str, Any]:
    correct, cases = sum(right), len(right)
    return {
        "cases": cases,
        "correct": correct,
        "accuracy": correct / cases if cases else None,
        "accuracy_ci95": list(wilson(correct, cases)),
    }
