"""Asking a teacher why the target is the target, and keeping what can be learned from."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from deepperception.errors import InputError
from deepperception.grounding import Object, Sample
from deepperception.inference.endpoint import Endpoint
from deepperception.inference.engine import Decoding, Engine, Request
from deepperception.inference.open import endpoint_engine
from deepperception.progress import Progress
from deepperception.settings import parse
from deepperception.synthesis.config import TeacherConfig
from deepperception.synthesis.filter import Filter
from deepperception.synthesis.plugins import load_plugin
from deepperception.synthesis.replies import Replies
from deepperception.synthesis.rows import Row


def open_teacher(config: TeacherConfig, box_step: int) -> Engine:
    """The teacher that the settings name; it writes boxes in multiples of `box_step` thousandths."""
    teacher = load_plugin("deepperception.teachers", config.kind, "synthesis.teacher.kind")
    return cast(Engine, teacher(config.options, box_step))


class EndpointTeacher:
    """A model behind an OpenAI-compatible server; the options are those of `inference.endpoint.Endpoint`."""

    def __init__(self, options: dict[str, Any], box_step: int) -> None:
        endpoint = parse(options, Endpoint, where="synthesis.teacher.options")
        self._engine = endpoint_engine(endpoint, Progress("teacher").say)
        self.backend = self._engine.backend

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
        """As the engine does: several at a time, asked again where the server is unwell."""
        return self._engine.generate(requests, decoding)


def request_text(sample: Sample, box_step: int) -> str:
    """What a teacher is asked: all objects with their boxes, and which is meant (paper, section 2.4, in our words).

    The lines that begin with `category:`, `-` and `Target:` are for a machine to read, one fact each.
    """
    objects = "\n".join(f"- {_line(thing, box_step)}" for thing in sample.objects)
    target = _line(Object(sample.entity, sample.target), box_step)
    return f"""The picture shows {len(sample.objects)} objects of one kind. Boxes are in thousandths of its sides.
category: {sample.category}
{objects}
Target: {target}

Write down how an expert finds the target from its name alone, as if its box were not known yet.
1. Plan: what is known about the target, and which visible features tell it from the others.
2. Look: go through the objects one by one, each with its box, and say what is seen of those features.
3. Compare: say where the others differ from the target; an object that nobody can name is compared by its look.
4. Conclude: end with the target's name and its box.
Use no other names than those above, and plain text."""


@dataclass
class Explainer:
    """Adds a teacher's reasoning to rows. `kept` and `refused` count what became of it."""

    teacher: Engine
    filter: Filter
    config: TeacherConfig
    box_step: int
    seed: int
    replies: Replies = field(default_factory=lambda: Replies(None))
    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def explain(self, rows: Iterator[Row], wanted: int) -> Iterator[Row]:
        """The first `wanted` rows whose reasoning is good; InputError where nearly all of it is refused."""
        while self.kept < wanted:
            batch = list(itertools.islice(rows, min(self.config.batch_size, wanted - self.kept)))
            for row, reasoning in zip(batch, self._ask(batch), strict=True):
                reason = self.filter.refusal(reasoning, row.sample)
                if reason:
                    self.refused[reason] += 1
                else:
                    self.kept += 1
                    yield replace(row, sample=replace(row.sample, reasoning=reasoning))
            self._refuse_poor_teacher()

    def _ask(self, rows: list[Row]) -> Iterator[str]:
        """The replies, each asked for where no earlier attempt was given it."""
        decoding = Decoding(self.config.max_new_tokens, self.config.temperature, seed=self.seed)
        requests = [self._request(row) for row in rows]
        known = [self.replies.of(request, decoding) for request in requests]
        unknown = [request for request, reply in zip(requests, known, strict=True) if reply is None]
        asked = iter(self.teacher.generate(unknown, decoding)) if unknown else iter(())
        for request, reply in zip(requests, known, strict=True):
            if reply is None:
                reply = next(asked)[0].strip()
                self.replies.keep(request, decoding, reply)
            yield reply

    def _request(self, row: Row) -> Request:
        number = int(row.sample.question_id.rsplit("/", 1)[1])
        # A seed of its own, so that a reply depends on nothing that was asked beside it.
        seed = (self.seed * 1_000_003 + number) % 2**31
        return Request(request_text(row.sample, self.box_step), row.sample.image, row.sample.question_id, seed=seed)

    def _refuse_poor_teacher(self) -> None:
        asked = self.kept + self.refused.total()
        if self.kept < self.filter.config.min_kept * asked:
            reason, times = self.refused.most_common(1)[0]
            raise InputError(
                f"synthesis.teacher: only {self.kept} of {asked} explanations by '{self.config.kind}' could be kept "
                f"({times} refused: {reason}); give a better teacher, or lower synthesis.filter.min_kept."
            )


def _line(thing: Object, box_step: int) -> str:
    return f"{thing.entity}: {thing.box.rounded(box_step).text()}"
