"""Where the replies to a benchmark come from: a model that is asked."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.errors import InputError
from deepperception.evaluation.replies import Answer
from deepperception.grounding import DialogueName, Sample, turns
from deepperception.inference.engine import Decoding, Engine, Request
from deepperception.inference.images import MAX_ASPECT, open_image


@dataclass(frozen=True)
class Manner:
    """How a model is asked; scores record it."""

    prompt: DialogueName
    decoding: Decoding
    max_pixels: int | None
    """Per picture, after resizing; None where the server decides."""


class ModelAnswers:
    """Asks an engine, by samples as they come and as many ahead as the engine draws."""

    def __init__(self, engine: Engine, manner: Manner, benchmark: Path) -> None:
        self.engine, self.manner, self.benchmark = engine, manner, benchmark

    @property
    def backend(self) -> Mapping[str, Any]:
        """What made the replies, as metrics.json names it."""
        return {**self.engine.backend, **dataclasses.asdict(self.manner)}

    def to(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Answer]]:
        """Each sample with its answer, in order; a picture that cannot be read makes an answer that says so."""
        waiting: deque[Sample] = deque()
        decoding = self.manner.decoding

        def first_turns() -> Iterator[Request]:
            for sample in samples:
                waiting.append(sample)
                yield self._request(sample)

        if len(turns(self.manner.prompt, _ANY_QUESTION)) == 1:
            for replies in self.engine.generate(first_turns(), decoding):
                sample = waiting.popleft()
                yield sample, Answer(replies, fault=None if replies else self._fault(sample))
            return
        described: deque[tuple[Sample, str | None]] = deque()

        def second_turns() -> Iterator[Request]:
            for replies in self.engine.generate(first_turns(), dataclasses.replace(decoding, samples=1)):
                sample, description = waiting.popleft(), replies[0] if replies else None
                described.append((sample, description))
                yield self._second(sample, description or "")

        for replies in self.engine.generate(second_turns(), decoding):
            sample, description = described.popleft()
            yield sample, Answer(replies, description, None if replies else self._fault(sample))

    def _request(self, sample: Sample) -> Request:
        drawn = self.manner.decoding.temperature > 0
        return Request(
            turns(self.manner.prompt, sample.question)[0],
            sample.image,
            name=self._name(sample),
            seed=_seed_of(sample.question_id, self.manner.decoding.seed) if drawn else None,
            or_nothing=True,
        )

    def _second(self, sample: Sample, description: str) -> Request:
        first, second = turns(self.manner.prompt, sample.question)
        return dataclasses.replace(self._request(sample), text=second, before=((first, description),))

    def _fault(self, sample: Sample) -> str:
        try:
            open_image(sample.image, max_aspect=MAX_ASPECT, name=self._name(sample))
        except InputError as error:
            return str(error)
        return f"{self._name(sample)}: the engine gave no reply."

    def _name(self, sample: Sample) -> str:
        return f"{self.benchmark}, question_id {sample.question_id!r}"


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file's bytes; InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a file.") from None


_ANY_QUESTION = turns("bare", "<|object_ref_start|>x<|object_ref_end|>")[0]


def _seed_of(question_id: str, seed: int) -> int:
    """A case's own chances: what is drawn depends on no other case, nor on how many are asked at once."""
    return int.from_bytes(hashlib.sha256(f"{seed} {question_id}".encode()).digest()[:4], "big") >> 1
