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
from deepperception.grounding import PromptName, Sample, render
from deepperception.inference.engine import Decoding, Engine, Request

_NAMED = 5


class Answers(Protocol):
    """Replies to samples, in their order; None where there is none."""

    @property
    def backend(self) -> Mapping[str, Any]:
        """What made the replies, as metrics.json names it."""
        ...

    def texts(self, samples: Sequence[Sample]) -> Iterator[str | None]: ...

    def finish(self) -> Mapping[str, Any]:
        """Called after the last sample: what is worth noting beside the scores."""
        ...


@dataclass(frozen=True)
class Manner:
    """How a model is asked; scores record it."""

    prompt: PromptName
    decoding: Decoding
    max_pixels: int
    """Per picture, after resizing."""


class ModelAnswers:
    """Asks an engine, one reply a question. `benchmark` is where an error finds a picture that cannot be read."""

    def __init__(self, engine: Engine, manner: Manner, benchmark: Path) -> None:
        self.engine, self.manner, self.benchmark = engine, manner, benchmark

    @property
    def backend(self) -> Mapping[str, Any]:
        return {**self.engine.backend, **dataclasses.asdict(self.manner)}

    def texts(self, samples: Sequence[Sample]) -> Iterator[str]:
        for replies in self.engine.generate([self._request(sample) for sample in samples], self.manner.decoding):
            yield replies[0]

    def _request(self, sample: Sample) -> Request:
        text = render(self.manner.prompt, sample.question)
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

    def texts(self, samples: Sequence[Sample]) -> Iterator[str | None]:
        for sample in samples:
            _, text = self._rows.get(sample.question_id, (0, None))
            if text is None:
                self._missing.append(sample.question_id)
            self._unused.pop(sample.question_id, None)
            yield text

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
