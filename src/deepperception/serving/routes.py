"""The routes that ask the model: KServe's v1 and v2, and OpenAI's chat. They stand before KServe's own of that name."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from deepperception.serving import schemas
from deepperception.serving.chat import Chat, read_chat
from deepperception.serving.finder import read_reply
from deepperception.serving.limits import FAILED, UNAVAILABLE, Noted, Refusal
from deepperception.serving.live import Ending, Piece
from deepperception.serving.requests import Fetch, read_queries
from deepperception.serving.service import Service
from deepperception.serving.tensors import read_tensors, tensors_of

MODEL_NAME = "deepperception"
_JSON, _EVENTS = "application/json", "text/event-stream"


def routes(service: Service, fetch: Fetch) -> APIRouter:
    """All three, over one service."""
    router = APIRouter()

    async def predict(request: Request) -> Response:
        """Finds names on pictures: boxes, reasoning and the whole reply."""
        body, noted = await request.body(), _noted(request)
        read = partial(read_queries, limits=service.limits, fetch=fetch)
        async with service.in_time():
            queries = await service.read(read, body)
        predictions = await service.predict(queries, noted)
        return _json({"predictions": [each.to_json() for each in predictions]})

    async def infer(request: Request) -> Response:
        """The same in tensors."""
        body, noted = await request.body(), _noted(request)
        identity, queries = await service.read(partial(read_tensors, limits=service.limits), body)
        return _json(tensors_of(await service.predict(queries, noted), identity))

    async def chat(request: Request) -> Response:
        """A chat about one picture; with `stream` the reply arrives as server-sent events."""
        body, noted = await request.body(), _noted(request)
        read = partial(read_chat, limits=service.limits, interface=service.interface, fetch=fetch)
        async with service.in_time():
            asked = await service.read(read, body)
        reply = _Reply(service, asked, noted)
        return await reply.streamed() if asked.stream else await reply.whole()

    async def models() -> Response:
        """What a chat may be held with."""
        return _json({"object": "list", "data": [{"id": MODEL_NAME, "object": "model", "owned_by": MODEL_NAME}]})

    ask = partial(router.add_api_route, methods=["POST"], response_class=Response)
    ask(
        f"/v1/models/{MODEL_NAME}:predict",
        predict,
        tags=["V1"],
        openapi_extra=schemas.PREDICT,
        responses=schemas.ANSWERS,
    )
    ask(f"/v2/models/{MODEL_NAME}/infer", infer, tags=["V2"], openapi_extra=schemas.INFER, responses=schemas.ANSWERS)
    ask("/openai/v1/chat/completions", chat, tags=["OpenAI"], openapi_extra=schemas.CHAT, responses=schemas.ANSWERS)
    router.add_api_route("/openai/v1/models", models, methods=["GET"], tags=["OpenAI"], response_class=Response)
    return router


class _Reply:
    """One reply to a chat, in OpenAI's shapes, with this server's `prediction` added."""

    def __init__(self, service: Service, asked: Chat, noted: Noted) -> None:
        self._service, self._asked, self._noted = service, asked, noted
        self._about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": MODEL_NAME}
        self._deadline = time.monotonic() + service.limits.request_s

    async def whole(self) -> Response:
        text, ending = "", Ending()
        async for piece in self._pieces(listen=False):
            text, ending = text + piece.text, piece.ending or ending
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": _reason(ending)}
        kind = {"object": "chat.completion", "choices": [choice], "usage": _usage(ending)}
        return _json({**self._about, **kind, "prediction": self._prediction(text)})

    async def streamed(self) -> Response:
        """Begun once the first piece is there: until then a failure still has a status of its own."""
        pieces = self._pieces(listen=True)
        first = await anext(pieces)
        # Proxies that gather what passes would spoil it.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._events(first, pieces), media_type=_EVENTS, headers=headers)

    async def _events(self, first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
        text, piece = "", first
        try:
            yield self._chunk({"role": "assistant", "content": ""})
            while True:
                text += piece.text
                if piece.text:
                    yield self._chunk({"content": piece.text})
                if piece.ending is not None:
                    break
                piece = await anext(rest)
        except Refusal as refusal:  # the status line is out: the last event says it
            yield _event({"error": refusal.sentence})
            return
        finally:
            await rest.aclose()  # type: ignore[attr-defined]
        yield self._chunk({}, _reason(piece.ending), prediction=self._prediction(text))
        if self._asked.include_usage:
            yield _event(
                {**self._about, "object": "chat.completion.chunk", "choices": [], "usage": _usage(piece.ending)}
            )
        yield b"data: [DONE]\n\n"

    async def _pieces(self, *, listen: bool) -> AsyncIterator[Piece]:
        """The engine's, each within what is left of the request's time."""
        asked, service = self._asked, self._service
        pieces = service.pieces(asked.request, asked.decoding, asked.pixels, self._noted, listen=listen)
        ended = False
        try:
            while not ended:
                async with asyncio.timeout(max(self._deadline - time.monotonic(), 0)):
                    piece = await anext(pieces)
                ended = piece.ending is not None
                yield piece
        except TimeoutError:
            sentence = f"no answer within {service.limits.request_s:g} s; ask again later, or for fewer tokens."
            raise Refusal(UNAVAILABLE, sentence, retry_after_s=5) from None
        except StopAsyncIteration:
            raise Refusal(FAILED, "the model broke off; its log says why.") from None
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    def _prediction(self, text: str) -> dict[str, Any]:
        return self._service.note(read_reply(text, self._asked.size), self._noted).to_json()

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _event({**self._about, "object": "chat.completion.chunk", "choices": [choice], **more})


def _reason(ending: Ending) -> str:
    return "length" if ending.cut_off else "stop"


def _usage(ending: Ending) -> dict[str, int]:
    read, written = ending.prompt_tokens, ending.reply_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _noted(request: Request) -> Noted:
    noted = getattr(request.state, "noted", None)
    return noted if isinstance(noted, Noted) else Noted()


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type=_JSON)
