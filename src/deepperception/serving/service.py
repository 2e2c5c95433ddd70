"""The model behind all routes: who may ask now, and what the engine said."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deepperception.artifacts.checkpoints import Interface
from deepperception.errors import InputError
from deepperception.grounding import question, render
from deepperception.inference.engine import Decoding, Request
from deepperception.serving import metrics
from deepperception.serving.finder import Prediction, Query, read_reply
from deepperception.serving.limits import FAILED, NOT_UNDERSTOOD, UNAVAILABLE, Limits, Noted, Refusal
from deepperception.serving.live import LiveEngine, Piece

log = logging.getLogger("deepperception.serving")

T = TypeVar("T")
# What a box looks like from afar: a bracket with a number, or a key that Qwen-VL writes before one.
_LIKE_A_BOX = re.compile(r"[\[(]\s*-?\d|bbox|<\|box_start")
_RETRY_LATER_S = 5


class Service:
    """An engine, how its model wants to be asked, and what may be asked of it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.engine: LiveEngine | None = None
        self.interface = Interface()
        self.ready = False
        self.draining = False
        self.idle = asyncio.Event()
        """Set while no request is on its way to an answer."""
        self.idle.set()
        # Few readers: each may hold a decoded picture of many megabytes.
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="reader")
        # Fetching waits for others: whoever sends a picture is not kept waiting by who sends an address.
        self._fetchers = ThreadPoolExecutor(8, thread_name_prefix="fetcher")

    async def read(self, work: Callable[[bytes], T], body: bytes) -> T:
        """Do it off the event loop: parsing and examining takes tens of milliseconds a picture."""
        threads = self._fetchers if b'"url"' in body else self._readers
        return await asyncio.get_running_loop().run_in_executor(threads, work, body)

    def check_ready(self) -> None:
        """Refusal where nothing is taken on now."""
        if self.draining:
            raise Refusal(UNAVAILABLE, "the server is stopping; ask again in a moment.", retry_after_s=_RETRY_LATER_S)
        if not self.ready:
            raise Refusal(UNAVAILABLE, "Model with name deepperception is not ready.", retry_after_s=_RETRY_LATER_S)

    async def predict(self, queries: Sequence[Query], noted: Noted) -> list[Prediction]:
        """One prediction a query, in order; greedy decoding. Refusal where the engine fails or time runs out."""
        answers = [self._whole(self.request(query), self.decoding(), query.pixels, noted) for query in queries]
        tasks = [asyncio.ensure_future(answer) for answer in answers]
        try:
            async with self.in_time():
                texts = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return [self.note(read_reply(text, query.size), noted) for text, query in zip(texts, queries, strict=True)]

    def request(self, query: Query) -> Request:
        """The user's turn about a query, as the model's interface wants it."""
        return Request(render(self.interface.prompt, question(query.entity)), query.image)

    def decoding(self) -> Decoding:
        """Greedy, and as long as the model's interface says."""
        return Decoding(max_new_tokens=self.interface.max_new_tokens)

    async def pieces(
        self, request: Request, decoding: Decoding, pixels: int, noted: Noted, *, listen: bool = True
    ) -> AsyncIterator[Piece]:
        """What the engine says, with its failures as Refusals."""
        assert self.engine is not None  # nobody gets here before it is ready
        try:
            said = self.engine.stream(request, decoding, pixels=pixels, listen=listen)
            async with contextlib.aclosing(said) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    if ending := piece.ending:
                        metrics.decoded(ending.queued_s, ending.batch)
                        noted.queued_s, noted.batch = max(noted.queued_s, ending.queued_s), ending.batch
                        noted.prompt_tokens += ending.prompt_tokens
                        noted.reply_tokens += ending.reply_tokens
                    yield piece
        except InputError as error:
            raise Refusal(NOT_UNDERSTOOD, str(error)) from None
        except Refusal:
            raise
        except Exception:
            log.exception("the engine failed")
            raise Refusal(FAILED, "the model failed on this request; its log says why.") from None

    def note(self, prediction: Prediction, noted: Noted) -> Prediction:
        """Count what a reply held."""
        noted.instances += 1
        noted.boxes += prediction.box is not None
        noted.unread += prediction.box is None and is_unread(prediction.text)
        return prediction

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Refusal where the block takes longer than a request may."""
        try:
            async with asyncio.timeout(self.limits.request_s):
                yield
        except TimeoutError:
            sentence = f"no answer within {self.limits.request_s:g} s; ask again later, or for less at once."
            raise Refusal(UNAVAILABLE, sentence, retry_after_s=_RETRY_LATER_S) from None

    async def close(self) -> None:
        """Ends the engine."""
        self.ready = False
        for threads in (self._readers, self._fetchers):
            threads.shutdown(wait=False)
        if self.engine is not None:
            await self.engine.close()

    async def _whole(self, request: Request, decoding: Decoding, pixels: int, noted: Noted) -> str:
        said = self.pieces(request, decoding, pixels, noted, listen=False)
        return "".join([piece.text async for piece in said])


def is_unread(text: str) -> bool:
    """Whether a reply without a box was to have one: it looks like a box, or breaks off while it thinks."""
    return bool(_LIKE_A_BOX.search(text)) or ("<think>" in text and "</think>" not in text)
