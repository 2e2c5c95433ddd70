"""What waits is decoded together; what is alone does not wait for long; what fails spoils nobody else's answer."""

import asyncio
import threading
from typing import ClassVar

import pytest

from deepperception.errors import InputError
from deepperception.inference.engine import Decoding, Request
from deepperception.serving.batching import MicroBatcher
from deepperception.serving.limits import Batching


class Gated:
    """Answers with the text asked; each call waits for its turn, and is kept."""

    backend: ClassVar = {"engine": "gated"}

    def __init__(self):
        self.calls, self.turn, self.began = [], threading.Semaphore(0), threading.Semaphore(0)

    def generate(self, requests, decoding):
        self.calls.append([request.text for request in requests])
        self.began.release()
        self.turn.acquire()
        if any(request.text == "bad" for request in requests):
            raise InputError("the picture is damaged.")
        return [[request.text] for request in requests]


def asked(text: str) -> Request:
    return Request(text, b"")


async def answer(batcher: MicroBatcher, text: str, decoding: Decoding | None = None, pixels: int = 1) -> str:
    pieces = batcher.stream(asked(text), decoding or Decoding(), pixels=pixels, listen=False)
    return "".join([piece.text async for piece in pieces])


async def begun(engine: Gated) -> None:
    await asyncio.get_running_loop().run_in_executor(None, engine.began.acquire)


async def with_one_under_way(batching: Batching, *, texts, decodings=None, pixels=1):
    """The calls, and what each got, of `texts` that arrive while the engine works on another one."""
    engine = Gated()
    batcher = MicroBatcher(engine, batching)
    first = asyncio.create_task(answer(batcher, "first"))
    await begun(engine)
    decodings = decodings or [Decoding()] * len(texts)
    rest = [asyncio.create_task(answer(batcher, t, d, pixels)) for t, d in zip(texts, decodings, strict=True)]
    await asyncio.sleep(0)
    engine.turn.release(100)
    results = await asyncio.gather(first, *rest, return_exceptions=True)
    await batcher.close()
    return engine.calls, results


@pytest.mark.parametrize(
    ("batching", "calls", "why"),
    [
        (Batching(max_batch=8), [["first"], ["a", "b", "c"]], "they waited together"),
        (Batching(max_batch=2), [["first"], ["a", "b"], ["c"]], "a batch has a bound"),
        (Batching(max_batch=8, max_pixels=25), [["first"], ["a", "b"], ["c"]], "so have its pictures"),
        (Batching(max_batch=8, max_pixels=1), [["first"], ["a"], ["b"], ["c"]], "but one is always served"),
    ],
)
def test_what_waits_is_decoded_together(batching, calls, why):
    given, results = asyncio.run(with_one_under_way(batching, texts=["a", "b", "c"], pixels=10))
    assert given == calls, why
    assert results == ["first", "a", "b", "c"]


def test_only_those_that_are_decoded_alike_go_together():
    hot = Decoding(temperature=1.0)
    calls, results = asyncio.run(
        with_one_under_way(Batching(), texts=["a", "b", "c"], decodings=[Decoding(), hot, Decoding()])
    )
    assert calls == [["first"], ["a", "c"], ["b"]]
    assert results == ["first", "a", "b", "c"]


def test_one_that_fails_is_asked_alone_and_the_others_get_their_answers():
    calls, results = asyncio.run(with_one_under_way(Batching(), texts=["a", "bad", "c"]))
    assert calls == [["first"], ["a", "bad", "c"], ["a"], ["bad"], ["c"]]
    assert (results[1], results[3]) == ("a", "c")
    assert isinstance(results[2], InputError)


def test_who_has_left_is_not_asked_for():
    async def leaves():
        engine = Gated()
        batcher = MicroBatcher(engine, Batching())
        first = asyncio.create_task(answer(batcher, "first"))
        await begun(engine)
        gone, stays = (asyncio.create_task(answer(batcher, text)) for text in ("gone", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        engine.turn.release(10)
        await asyncio.gather(first, stays)
        await batcher.close()
        return engine.calls

    assert asyncio.run(leaves()) == [["first"], ["stays"]]


def test_closing_tells_those_who_wait():
    async def closes():
        engine = Gated()
        batcher = MicroBatcher(engine, Batching())
        first = asyncio.create_task(answer(batcher, "first"))
        await begun(engine)
        waits = asyncio.create_task(answer(batcher, "waits"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        engine.turn.release(10)
        results = await asyncio.gather(first, waits, return_exceptions=True)
        await closing
        return results

    said, error = asyncio.run(closes())
    assert said == "first"
    assert isinstance(error, RuntimeError) and "closed" in str(error)
