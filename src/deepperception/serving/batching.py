"""Dynamic micro-batching: while the engine works on one batch, the next one gathers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from deepperception.inference.engine import Decoding, Engine, Request
from deepperception.serving.limits import Batching
from deepperception.serving.live import Ending, Piece

_Event = Piece | Exception


@dataclass(eq=False)
class _Ticket:
    """One request on its way through the engine's thread."""

    request: Request
    decoding: Decoding
    pixels: int
    listens: bool
    loop: asyncio.AbstractEventLoop
    arrived: float = field(default_factory=time.monotonic)
    events: asyncio.Queue[_Event] = field(default_factory=asyncio.Queue)
    left: bool = False
    heard: str = ""
    """What was said already: such a request cannot be asked anew."""


class MicroBatcher:
    """Implements LiveEngine over an engine of batches.

    One thread owns the engine: its calls never overlap, and the event loop goes on answering. The engine is asked by
    `stream` (inference.streaming) where it has that, and else by `generate`, whose replies come in one piece.
    """

    def __init__(self, engine: Engine, batching: Batching | None = None) -> None:
        self._engine, self._batching = engine, batching or Batching()
        self.backend = engine.backend
        self._waiting: list[_Ticket] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    async def stream(
        self, request: Request, decoding: Decoding, *, pixels: int = 0, listen: bool = True
    ) -> AsyncIterator[Piece]:
        """See LiveEngine."""
        ticket = _Ticket(request, decoding, pixels, listen, asyncio.get_running_loop())
        with self._changed:
            self._waiting.append(ticket)
            self._changed.notify()
        try:
            while True:
                event = await ticket.events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if event.ending is not None:
                    return
        finally:
            ticket.left = True

    async def close(self) -> None:
        """Ends the thread once its batch is done; who waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        while batch := self._next_batch():
            self._decode(batch)
        for ticket in self._waiting:
            _post([(ticket, RuntimeError("the engine was closed."))])

    def _next_batch(self) -> list[_Ticket]:
        """Those who waited longest and are decoded alike; empty once closed."""
        with self._changed:
            while True:
                self._waiting = [ticket for ticket in self._waiting if not ticket.left]
                if self._closed:
                    return []
                if not self._waiting:
                    self._changed.wait()
                    continue
                patience = self._waiting[0].arrived + self._batching.max_wait_s - time.monotonic()
                if patience <= 0 or len(self._waiting) >= self._batching.max_batch:
                    return self._taken()
                self._changed.wait(patience)

    def _taken(self) -> list[_Ticket]:
        first, pixels = self._waiting[0], 0
        batch: list[_Ticket] = []
        for ticket in self._waiting:
            if ticket.decoding != first.decoding:
                continue
            pixels += ticket.pixels
            if len(batch) == self._batching.max_batch or (batch and pixels > self._batching.max_pixels):
                break
            batch.append(ticket)
        self._waiting = [ticket for ticket in self._waiting if ticket not in batch]
        return batch

    def _decode(self, batch: Sequence[_Ticket]) -> None:
        started = time.monotonic()
        try:
            endings = self._ask(batch, started)
        except Exception as error:  # an engine may raise whatever it likes; whoever asked is told
            if len(batch) == 1:
                _post([(batch[0], error)])
                return
            # One of them spoils it for all: each is asked alone, unless part of its reply is out already.
            for ticket in batch:
                if ticket.heard:
                    _post([(ticket, error)])
                elif not ticket.left:
                    self._decode([ticket])
            return
        _post([(ticket, piece) for ticket, piece in zip(batch, endings, strict=True)])

    def _ask(self, batch: Sequence[_Ticket], started: float) -> list[Piece]:
        requests, decoding = [ticket.request for ticket in batch], batch[0].decoding

        def ending(ticket: _Ticket, **known: Any) -> Ending:
            return Ending(queued_s=started - ticket.arrived, batch=len(batch), **known)

        if not hasattr(self._engine, "stream"):
            replies = [reply[0] for reply in self._engine.generate(requests, decoding)]
            return [Piece(text, ending(ticket)) for ticket, text in zip(batch, replies, strict=True)]

        def heard(gained: dict[int, str]) -> None:
            for place, text in gained.items():
                batch[place].heard += text
            _post([(batch[place], Piece(text)) for place, text in gained.items()])

        said = self._engine.stream(
            requests,
            decoding,
            heard=heard,
            listens=lambda place: batch[place].listens and not batch[place].left,
            needed=lambda place: not batch[place].left,
        )
        pieces = []
        for ticket, whole in zip(batch, said, strict=True):
            known = {name: getattr(whole, name) for name in ("prompt_tokens", "reply_tokens", "cut_off")}
            # Nothing is said twice: the pieces make up the reply, and the last one brings what they lack of it.
            rest = whole.text[len(ticket.heard) :] if whole.text.startswith(ticket.heard) else ""
            pieces.append(Piece(rest, ending(ticket, **known)))
        return pieces


def _post(events: Sequence[tuple[_Ticket, _Event]]) -> None:
    """Hands events over to the event loop, all of them at one call."""
    if not events:
        return

    def put() -> None:
        for ticket, event in events:
            ticket.events.put_nowait(event)

    loop = events[0][0].loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(put)
