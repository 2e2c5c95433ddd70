"""The one way to ask a model: a picture and a text go in, texts come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A user's turn: `image` is the encoded file (JPEG, PNG, ...), `text` the words of the turn.

    `name` is what an error calls the picture. `before` are the turns that led here, each (what the user said, what the
    model replied); the picture was shown with the first of them, and else is shown with `text`.
    """

    text: str
    image: bytes
    name: str = "the picture"
    before: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Decoding:
    """How replies are drawn. `temperature` 0 is greedy; `samples` replies are drawn for each request."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0


class Engine(Protocol):
    """A model, local or remote, real or made of rules."""

    backend: dict[str, Any]
    """What a score must record to be compared: engine, version, dtype."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[str]]:
        """For each request, in order, `decoding.samples` replies with special tokens stripped.

        InputError names the picture that cannot be read.
        """
        ...
