"""Where the replies to a benchmark come from: a model, or a file of replies made elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deepperception.errors import InputError
from deepperception.grounding import DialogueName, Sample, turns
from deepperception.inference.engine import Decoding, Engine, Request

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back to one question."""

    replies: Sequence[str] = ()
    """The first one is scored as the answer; none at all counts as wrong."""
    description: str | None = None
    """What the model said before, where it was asked for a description first."""


class Answers(Protocol):
    """Replies to samples, in their order."""

    @property
    def backend(self) -> Mapping[str, Any]:
        """What made the replies, as metrics.json names it."""
        ...

    def to(self, samples: Sequence[Sample]) -> Iterator[Answer]: ...

    def finish(self) -> Mapping[str, Any]:
        """Called after the last sample: what is worth noting beside the scores."""
        ...


@dataclass(frozen=True)
class Manner:
    """How a model is asked; scores record it."""

    prompt: DialogueName
    decoding: Decoding
    max_pixels: int
    """Per picture, after resizing."""


class ModelAnswers:
    """Asks an engine. `benchmark` is where an error finds a picture that cannot be read."""

    def __init__(self, engine: Engine, manner: Manner, benchmark: Path) -> None:
        self.engine, self.manner, self.benchmark = engine, manner, benchmark
        self._calls = 0

    @property
    def backend(self) -> Mapping[str, Any]:
        return {**self.engine.backend, **dataclasses.asdict(self.manner)}

    def to(self, samples: Sequence[Sample]) -> Iterator[Answer]:
        dialogues = [turns(self.manner.prompt, sample.question) for sample in samples]
        requests = [self._request(sample, texts[0]) for sample, texts in zip(samples, dialogues, strict=True)]
        if len(dialogues[0]) == 1:
            for replies in self.engine.generate(requests, self._decoding(self.manner.decoding.samples)):
                yield Answer(replies)
            return
        described = [replies[0] for replies in self.engine.generate(requests, self._decoding(1))]
        asked = [
            dataclasses.replace(request, text=texts[1], before=((texts[0], description),))
            for request, texts, description in zip(requests, dialogues, described, strict=True)
        ]
        answers = self.engine.generate(asked, self._decoding(self.manner.decoding.samples))
        yield from map(Answer, answers, described)

    def _decoding(self, samples: int) -> Decoding:
        decoding = dataclasses.replace(self.manner.decoding, samples=samples)
        if decoding.temperature == 0:
            return decoding
        # Each call draws with a seed of its own, or the same chances would befall every batch.
        self._calls += 1
        return dataclasses.replace(decoding, seed=decoding.seed * 1_000_003 + self._calls)

    def _request(self, sample: Sample, text: str) -> Request:
        return Request(text, sample.image, name=f"{self.benchmark}, question_id {sample.question_id!r}")

    def finish(self) -> Mapping[str, Any]:
        return {}


class FileAnswers:
    """Replies from a JSONL file of rows {"question_id": ..., "text": ...}.

    A question without a row counts as answered wrongly, and is reported. InputError for a row that is malformed, that
    repeats a question_id, or (in `finish`) whose question_id the benchmark does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _read(path)
        self._missing: list[str] = []
        self._unused = dict.fromkeys(self._rows)

    @property
    def backend(self) -> Mapping[str, Any]:
        return dict.fromkeys(("version", "dtype", "prompt", "decoding", "max_pixels")) | {"engine": "predictions"}

    def to(self, samples: Sequence[Sample]) -> Iterator[Answer]:
        for sample in samples:
            _, text = self._rows.get(sample.question_id, (0, None))
            if text is None:
                self._missing.append(sample.question_id)
            self._unused.pop(sample.question_id, None)
            yield Answer() if text is None else Answer((text,))

    def finish(self) -> Mapping[str, Any]:
        if self._unused:
            unknown = list(self._unused)
            row, _ = self._rows[unknown[0]]
            raise InputError(
                f"{self.path}, row {row}: the benchmark has no question_id {unknown[0]!r} "
                f"({_counted(unknown)}); remove or correct it."
            )
        return {"rows": len(self._rows), "missing": len(self._missing), "missing_ids": self._missing}


def missing_sentence(notes: Mapping[str, Any]) -> str | None:
    """One line about questions without a reply; None where all have one."""
    if not notes.get("missing"):
        return None
    return f"no reply to {notes['missing']} of the questions, counted as wrong: {_listed(notes['missing_ids'])}"


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file's bytes; InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a file.") from None


def _read(path: Path) -> dict[str, tuple[int, str]]:
    """question_id -> (row number from 1, text)."""
    rows: dict[str, tuple[int, str]] = {}
    repeated: list[tuple[int, str]] = []
    try:
        # Rows end at a newline only: str.splitlines would also cut at characters that JSON allows inside a text.
        with path.open(encoding="utf-8", newline="\n") as file:
            for row, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                question_id, text = _row(path, row, line)
                if question_id in rows:
                    repeated.append((row, question_id))
                else:
                    rows[question_id] = (row, text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a JSONL file in UTF-8.") from None
    if repeated:
        row, question_id = repeated[0]
        raise InputError(
            f"{path}, row {row}: question_id {question_id!r} was answered in row {rows[question_id][0]} already "
            f"({_counted([name for _, name in repeated])}); keep one row for each question."
        )
    return rows


def _row(path: Path, row: int, line: str) -> tuple[str, str]:
    expected = 'expected {"question_id": "...", "text": "..."}'
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):  # Python's reader follows nested brackets only so deep
        raise InputError(f"{path}, row {row}: this is not JSON; {expected}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}, row {row}: this is no object; {expected}.")
    for key in ("question_id", "text"):
        if not isinstance(content.get(key), str):
            found = f"is {json.dumps(content[key])[:60]}" if key in content else "is missing"
            raise InputError(f"{path}, row {row}: '{key}' {found}; {expected}.")
    return content["question_id"], content["text"]


def _counted(names: Sequence[str]) -> str:
    return "the only such row" if len(names) == 1 else f"{len(names)} such rows: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
