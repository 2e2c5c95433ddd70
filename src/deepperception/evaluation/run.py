"""The evaluation stage: every question of a benchmark put to a model, every reply scored."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from deepperception.artifacts.checkpoints import Interface, check_checkpoint, read_interface
from deepperception.artifacts.datasets import rows_or_faults
from deepperception.artifacts.disk import locked
from deepperception.artifacts.manifest import MANIFEST, Manifest, payload_digest, read_manifest
from deepperception.artifacts.stage import Context, Outcome, is_made, once
from deepperception.errors import InputError
from deepperception.evaluation.answers import Manner, ModelAnswers, file_digest
from deepperception.evaluation.config import EvaluationConfig
from deepperception.evaluation.journal import Journals, read_row
from deepperception.evaluation.metrics import score
from deepperception.evaluation.page import Finish
from deepperception.evaluation.replies import Answer, ReplyIndex, text_in
from deepperception.evaluation.scoring import Scored, check_ids, score_benchmark
from deepperception.evaluation.shards import WHOLE, Shard
from deepperception.grounding import Sample
from deepperception.inference.engine import Decoding, Engine
from deepperception.inference.open import OpenEngine, backend_of, endpoint_engine, opener


def evaluate_model(
    config: EvaluationConfig,
    benchmark: Path,
    model: Path,
    out: Path,
    context: Context,
    *,
    seen: Collection[str] | None = None,
    open_engine: OpenEngine | None = None,
    backend: Mapping[str, Any] | None = None,
    shard: Shard = WHOLE,
    finish: Finish | None = None,
) -> Manifest | None:
    """Scores a checkpoint folder on a benchmark file: metrics.json and cases.jsonl in `out`.

    Prompt, reply length and picture size are the model's own (its interface file) unless `config` says otherwise. The
    result is used again for the same benchmark, model, backend and manner of asking, whatever else the recipe changes.
    `seen` replaces the benchmark's own word on which categories are seen. `open_engine` replaces the config's engine
    and is called as the transformers engine is; `backend` is then what its engine records. `finish` writes more into
    the folder before it is sealed.

    Killed, the next call goes on behind the last case that has its reply. With a `shard`, only its cases are asked;
    whichever call finds the last shard finished scores them all, and the others return None.
    """
    check_checkpoint(model)
    interface = read_interface(model)
    manner = _manner(config, interface)
    max_pixels = config.max_pixels or interface.max_pixels
    if open_engine is None:
        open_engine, backend = opener(config.engine), backend_of(config.engine)
    opened = open_engine

    def engine() -> Engine:
        return opened(model, max_pixels=max_pixels, batch_size=config.batch_size)

    inputs = {"benchmark": file_digest(benchmark), "model": _model_digest(model)}
    return _Evaluation(engine, manner, dict(backend or {}), inputs, benchmark, out, context, seen, shard, finish).run()


def evaluate_endpoint(
    config: EvaluationConfig,
    benchmark: Path,
    out: Path,
    context: Context,
    *,
    seen: Collection[str] | None = None,
    shard: Shard = WHOLE,
    finish: Finish | None = None,
) -> Manifest | None:
    """As `evaluate_model`, of whatever the server behind `config.endpoint` serves under that name."""
    endpoint = config.endpoint
    if endpoint is None:
        raise InputError("evaluation.endpoint: the engine 'openai' needs the address of a server; give its url.")
    manner = dataclasses.replace(_manner(config, Interface()), max_pixels=None)
    engine = endpoint_engine(endpoint, context.progress.say)
    inputs = {"benchmark": file_digest(benchmark)}
    return _Evaluation(
        lambda: engine, manner, engine.backend, inputs, benchmark, out, context, seen, shard, finish
    ).run()


def evaluate_predictions(
    benchmark: Path,
    predictions: Path,
    out: Path,
    context: Context,
    *,
    seen: Collection[str] | None = None,
    finish: Finish | None = None,
) -> Manifest:
    """Scores a file of replies made elsewhere: rows {"question_id", "text"}.

    A question without a row counts as answered wrongly, rows of other questions are left out; both are counted and
    named. InputError for a malformed row, for two different replies to a question, and where no row is the benchmark's.
    """
    backend = dict.fromkeys(("version", "dtype", "prompt", "decoding", "max_pixels")) | {"engine": "predictions"}
    inputs = {"benchmark": file_digest(benchmark), "predictions": file_digest(predictions)}

    def build(folder: Path) -> Outcome:
        check_ids(benchmark)
        replies = ReplyIndex([predictions], lambda row: Answer((text_in(row, "text"),)))
        try:
            scored = score_benchmark(
                replies, benchmark, inputs["benchmark"], backend, folder, context.progress, seen=seen, given=True
            )
        finally:
            replies.close()
        if finish:
            finish(folder)
        return _outcome(scored, backend)

    return once(
        out,
        kind="evaluation",
        recipe_hash=_hash({"seen": _listed(seen), "finished": finish is not None}),
        seed=context.seed,
        inputs=inputs,
        progress=context.progress,
        build=build,
    )


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """A model, a way to ask it, and where the replies and scores go."""

    open_engine: Callable[[], Engine]
    manner: Manner
    expected: Mapping[str, Any]
    """What the engine will record. Scores of another backend are made again: comparing demands equal ones."""
    inputs: dict[str, str]
    benchmark: Path
    out: Path
    context: Context
    seen: Collection[str] | None
    shard: Shard
    finish: Finish | None

    def run(self) -> Manifest | None:
        """The finished evaluation; None where other shards are not finished."""
        key: dict[str, Any] = {
            "kind": "evaluation",
            "recipe_hash": _hash({**self._asked(), "seen": _listed(self.seen), "finished": self.finish is not None}),
            "seed": self.context.seed,
            "inputs": self.inputs,
        }
        journals = Journals(self.out.with_name(f"{self.out.name}.replies"), _hash([self._asked(), self.inputs])[7:23])
        if self.shard != WHOLE and not is_made(self.out, **key):
            lock = self.out.with_name(f".{self.out.name}.{self.shard.number}-of-{self.shard.of}.lock")
            with locked(lock, lambda: self.context.progress.say("waiting: another process is at this shard")):
                if not is_made(self.out, **key):
                    self._ask(journals)
            # In this order: whoever scores them removes the journals afterwards.
            if (missing := journals.missing(self.shard.of)) and not is_made(self.out, **key):
                self._say_unfinished(missing)
                return None

        def build(folder: Path) -> Outcome:
            if self.shard == WHOLE:
                self._ask(journals)
            return self._score(journals, folder)

        manifest = once(self.out, **key, progress=self.context.progress, build=build, resumes=True)
        shutil.rmtree(journals.folder, ignore_errors=True)  # other shards may be at it, too
        return manifest

    def _asked(self) -> dict[str, Any]:
        """What decides the replies, beside the inputs."""
        return {**dataclasses.asdict(self.manner), "backend": dict(self.expected)}

    def _ask(self, journals: Journals) -> None:
        """Has every case of the shard answered in its journal."""
        if journals.path(self.shard).is_file():
            return
        total = check_ids(self.benchmark, self.shard)
        with journals.opened(self.shard) as journal:
            progress, done = self.context.progress, len(journal.answered)
            if done:
                progress.say(f"going on: {done} of {total} questions have their reply")
            if done >= total:
                return
            engine = self.open_engine()
            journals.note_backend(self.shard, engine.backend)
            answers = ModelAnswers(engine, self.manner, self.benchmark)
            right = 0
            with progress.track(total - done, f"asking {self.benchmark.stem}") as bar:
                for number, (sample, answer) in enumerate(answers.to(self._left(journal.answered)), start=1):
                    journal.add(sample.question_id, answer)
                    right += _is_right(sample, answer)
                    bar.advance(note=f"accuracy {right / number:.3f}")

    def _left(self, answered: Collection[str]) -> Iterator[Sample]:
        for sample in rows_or_faults(self.benchmark):
            # What is wrong with a row is told when it is scored, once for all shards.
            if not isinstance(sample, Sample) or sample.question_id in answered:
                continue
            if self.shard.holds(sample.question_id):
                yield sample

    def _score(self, journals: Journals, folder: Path) -> Outcome:
        backend = {**journals.backend(), **dataclasses.asdict(self.manner)}
        replies = ReplyIndex([journals.path(Shard(n, self.shard.of)) for n in range(self.shard.of)], read_row)
        try:
            scored = score_benchmark(
                replies,
                self.benchmark,
                self.inputs["benchmark"],
                backend,
                folder,
                self.context.progress,
                seen=self.seen,
                given=False,
            )
        finally:
            replies.close()
        if self.finish:
            self.finish(folder)
        return _outcome(scored, backend)

    def _say_unfinished(self, missing: list[int]) -> None:
        done = self.shard.of - len(missing)
        self.context.progress.say(
            f"shard {self.shard} is finished, {done} of {self.shard.of} are; the last one to finish scores them all"
        )


def _outcome(scored: Scored, backend: Mapping[str, Any]) -> Outcome:
    return Outcome(counts={"cases": scored.cases}, metrics=scored.accuracies, backend=backend)


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


def _is_right(sample: Sample, answer: Answer) -> bool:
    return score(sample, answer.replies[:1]).correct


def _listed(seen: Collection[str] | None) -> list[str] | None:
    return None if seen is None else sorted(seen)


def _model_digest(folder: Path) -> str:
    return read_manifest(folder).digest if (folder / MANIFEST).exists() else payload_digest(folder)


def _hash(content: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}"
