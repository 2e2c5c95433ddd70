"""The one way to ask a model: a picture and a text go in, texts come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A user's turn: `image` is the encoded file (JPEG, PNG, ...), `text` the words of the turn.

    `name` is what an error calls the picture. `before` are the turns that led here, each (what the user said, what the
    model replied); the picture was shown with the first of them, and else is shown with `text`. `seed` gives the
    request chances of its own, so that what is drawn does not depend on its company; None: those of the call.
    `or_nothing` asks for no replies, in the place of an error, where the picture cannot be read.
    """

    text: str
    image: bytes
    name: str = "the picture"
    before: tuple[tuple[str, str], ...] = ()
    seed: int | None = None
    or_nothing: bool = False

    def turns(self) -> list[tuple[str, str, bool]]:
        """(role, text, whether the picture is shown with it) of the whole dialogue, for a chat template."""
        said = [text for turn in self.before for text in turn] + [self.text]
        return [("assistant" if number % 2 else "user", text, number == 0) for number, text in enumerate(said)]


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

    def generate(self, requests: Iterable[Request], decoding: Decoding) -> Iterator[list[str]]:
        """For each request, in order, `decoding.samples` replies with special tokens stripped.

        Requests are drawn from the iterable as they are needed, a bounded number ahead. InputError names the picture
        that cannot be read, unless its request says `or_nothing`.
        """
        ...
