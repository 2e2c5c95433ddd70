"""The evaluation stage: every question of a benchmark put to a model, every reply scored."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from deepperception.artifacts.checkpoints import Interface, check_checkpoint, read_interface
from deepperception.artifacts.datasets import count_rows, read_rows
from deepperception.artifacts.disk import write_text
from deepperception.artifacts.evaluations import METRICS, Case, write_cases
from deepperception.artifacts.manifest import MANIFEST, Manifest, payload_digest, read_manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.evaluation.answers import (
    Answers,
    FileAnswers,
    Manner,
    ModelAnswers,
    file_digest,
    missing_sentence,
)
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.metrics import metrics, score
from deepperception.grounding import Sample
from deepperception.inference.backend import transformers_backend
from deepperception.inference.engine import Decoding, Engine


def evaluate_model(
    config: EvaluationConfig,
    benchmark: Path,
    model: Path,
    out: Path,
    context: Context,
    *,
    seen: Collection[str] | None = None,
    open_engine: Callable[..., Engine] | None = None,
    backend: Mapping[str, Any] | None = None,
) -> Manifest:
    """Scores a checkpoint folder on a benchmark file: metrics.json and cases.jsonl in `out`.

    Prompt, reply length and picture size are the model's own (its interface file) unless `config` says otherwise. The
    result is used again for the same benchmark, model, backend and manner of asking, whatever else the recipe changes.
    `seen` replaces the benchmark's own word on which categories are seen. `open_engine` replaces the transformers
    engine and is called as that is; `backend` is then what its engine records.
    """
    check_checkpoint(model)
    manner = _manner(config, read_interface(model))
    if open_engine is None:
        backend = transformers_backend()

    def open_answers() -> Answers:
        opened = open_engine or _transformers_engine()
        engine = opened(model, max_pixels=manner.max_pixels, batch_size=config.batch_size)
        return ModelAnswers(engine, manner, benchmark)

    return _evaluate(
        open_answers,
        benchmark,
        out,
        context,
        inputs={"benchmark": file_digest(benchmark), "model": _model_digest(model)},
        # Comparing demands equal backends: scores of half a run made on another machine must be made again.
        asked={**dataclasses.asdict(manner), "backend": dict(backend or {}), **_chance(config)},
        batch_size=config.batch_size,
        seen=seen,
    )


def evaluate_predictions(
    benchmark: Path, predictions: Path, out: Path, context: Context, *, seen: Collection[str] | None = None
) -> Manifest:
    """Scores a file of replies made elsewhere: rows {"question_id", "text"}; see FileAnswers for what is refused."""
    return _evaluate(
        lambda: FileAnswers(predictions),
        benchmark,
        out,
        context,
        inputs={"benchmark": file_digest(benchmark), "predictions": file_digest(predictions)},
        asked={},
        batch_size=EvaluationConfig().batch_size,
        seen=seen,
    )


def _evaluate(
    open_answers: Callable[[], Answers],
    benchmark: Path,
    out: Path,
    context: Context,
    *,
    inputs: dict[str, str],
    asked: dict[str, Any],
    batch_size: int,
    seen: Collection[str] | None,
) -> Manifest:
    def build(folder: Path) -> Outcome:
        answers = open_answers()
        cases = list(_scored(answers, benchmark, batch_size, seen, context))
        notes = answers.finish()
        if sentence := missing_sentence(notes):
            context.progress.say(sentence)
        about = {"file": benchmark.name, "digest": inputs["benchmark"], "cases": len(cases)}
        result = metrics(cases, benchmark=about, backend=answers.backend)
        if notes:
            result["predictions"] = dict(notes)
        write_cases(folder, cases)
        write_text(folder / METRICS, json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return Outcome(
            counts={"cases": len(cases)},
            metrics={split: result["official"][split]["accuracy"] for split in ("all", "seen", "unseen")},
            backend=answers.backend,
        )

    return once(
        out,
        kind="evaluation",
        recipe_hash=_hash({**asked, "seen": sorted(seen) if seen is not None else None}),
        seed=context.seed,
        inputs=inputs,
        progress=context.progress,
        build=build,
    )


def _scored(
    answers: Answers, benchmark: Path, batch_size: int, seen: Collection[str] | None, context: Context
) -> Iterator[Case]:
    """Scores in the benchmark's order; only one batch of pictures is in memory at a time."""
    done = right = 0
    rows = _unique(read_rows(benchmark, seen=seen), benchmark)
    with context.progress.track(count_rows(benchmark), f"scoring {benchmark.stem}") as bar:
        while batch := list(itertools.islice(rows, batch_size)):
            for sample, answer in zip(batch, answers.to(batch), strict=True):
                case = score(sample, answer.replies, description=answer.description)
                done += 1
                right += case.correct
                bar.advance(note=f"accuracy {right / done:.3f}")
                yield case
    if not done:
        raise InputError(f"{benchmark}: the benchmark has no rows; give one with at least one question.")


def _unique(rows: Iterator[Sample], benchmark: Path) -> Iterator[Sample]:
    """Refuses a question_id that comes twice: comparisons pair the cases of two models by it."""
    first: dict[str, int] = {}
    for row, sample in enumerate(rows, start=1):
        if (earlier := first.setdefault(sample.question_id, row)) != row:
            raise InputError(
                f"{benchmark}, row {row}: question_id {sample.question_id!r} is that of row {earlier} too; "
                "give every row an id of its own."
            )
        yield sample


def _manner(config: EvaluationConfig, interface: Interface) -> Manner:
    return Manner(
        prompt=config.prompt or interface.prompt,
        decoding=Decoding(
            max_new_tokens=config.max_new_tokens or interface.max_new_tokens,
            temperature=config.temperature,
            samples=config.samples,
            seed=config.sampling_seed,
        ),
        max_pixels=config.max_pixels or interface.max_pixels,
    )


def _chance(config: EvaluationConfig) -> dict[str, Any]:
    """What else decides which replies are drawn: a batch shares its stream of chances."""
    return {"batch_size": config.batch_size} if config.temperature > 0 else {}


def _transformers_engine() -> Callable[..., Engine]:
    from deepperception.inference.transformers_engine import TransformersEngine

    return TransformersEngine


def _model_digest(folder: Path) -> str:
    return read_manifest(folder).digest if (folder / MANIFEST).exists() else payload_digest(folder)


def _hash(content: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}"
