"""One way to ask an engine while others ask it, too: a reply arrives in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from deepperception.inference.engine import Decoding, Request


@dataclass(frozen=True, slots=True)
class Ending:
    """How a reply came to its end."""

    prompt_tokens: int = 0
    """Those of the picture included; 0 where the engine does not count."""
    reply_tokens: int = 0
    cut_off: bool = False
    """It was as long as it may be."""
    queued_s: float = 0.0
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more of a reply, special tokens left out. The last piece has an `ending`, and maybe no text."""

    text: str
    ending: Ending | None = None


class LiveEngine(Protocol):
    """A model that a server asks. All calls come from one event loop."""

    backend: dict[str, Any]
    """Engine, version, dtype."""

    def stream(
        self, request: Request, decoding: Decoding, *, pixels: int = 0, listen: bool = True
    ) -> AsyncIterator[Piece]:
        """The reply to one request, piece by piece; closed early, the engine stops working on it.

        `pixels` is the size of the picture; with `listen` False nobody waits for the pieces, and one will do.
        InputError names the picture that cannot be read.
        """
        ...

    async def close(self) -> None:
        """Give back what the engine holds; nothing is asked of it any more."""
        ...
