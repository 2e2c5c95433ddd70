"""What every request passes before a route sees it: the token, the body's limits, a place among those who wait."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepperception.serving import metrics
from deepperception.serving.limits import BUSY, FAILED, NO_TOKEN, TOO_LARGE, TOO_SLOW, Noted, Refusal
from deepperception.serving.logs import fields
from deepperception.serving.service import Service

log = logging.getLogger("deepperception.requests")

ASKING = {"/v1/models/deepperception:predict": "v1", "/v2/models/deepperception/infer": "v2"}
ASKING["/openai/v1/chat/completions"] = "openai"
_RETRY_S = 1
_GONE = 499
"""In metrics and the log: the client hung up before it had its answer."""


class _Gone(Exception):
    """The client hung up while its body was on its way."""


@dataclass(eq=False)
class _Upload:
    """A body on its way."""

    started: float = field(default_factory=time.monotonic)
    received: int = 0
    gives_way: asyncio.Event = field(default_factory=asyncio.Event)

    def speed(self) -> float:
        return self.received / max(time.monotonic() - self.started, 1e-3)


class Gate:
    """Counts what is in the server, and says no in one sentence.

    A body is read here, whole, before it takes one of the places of those who wait: slow clients cannot take these.
    """

    def __init__(self, app: ASGIApp, service: Service, token: str | None) -> None:
        self._app, self._service, self._limits = app, service, service.limits
        self._token = token.encode() if token else None
        self._uploads: set[_Upload] = set()
        self._waiting = self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = ASKING.get(scope["path"]) if scope["method"] == "POST" else None
        exchange = _Exchange(scope, send, route)
        try:
            self._check_token(scope)
            if scope["method"] in ("GET", "HEAD", "OPTIONS"):
                await self._app(scope, receive, exchange.send)
                return
            await self._with_body(scope, receive, exchange)
        except Refusal as refusal:
            if not exchange.status:
                await respond(refusal)(scope, receive, exchange.send)
        except _Gone:
            exchange.status = exchange.status or _GONE
        except Exception:
            exchange.status = exchange.status or FAILED
            raise
        finally:
            exchange.close()

    def _check_token(self, scope: Scope) -> None:
        path = scope["path"]
        if self._token is None or (scope["method"] in ("GET", "HEAD") and is_open(path)):
            return
        kind, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            raise Refusal(NO_TOKEN, "this server wants a token; send it as the header 'Authorization: Bearer TOKEN'.")

    async def _with_body(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        self._check_places()
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limits.body_bytes:
            raise self._too_large()
        body = await self._read(receive)
        try:
            self._check_places()  # again: the body may have taken its time
            exchange.arrived = time.monotonic()
            self._count(waiting=1)
            try:
                await self._answered(scope, body, receive, exchange)
            finally:
                self._count(waiting=-1)
        finally:
            self._count(buffered=-len(body))

    def _check_places(self) -> None:
        self._service.check_ready()
        if self._waiting >= self._limits.waiting:
            sentence = f"{self._waiting} requests are waiting already; try again in a moment."
            raise Refusal(BUSY, sentence, retry_after_s=_RETRY_S)

    async def _read(self, receive: Receive) -> bytes:
        """The whole body, its bytes counted as buffered; Refusal where it is too large or too slow."""
        upload, chunks = self._begin_upload(), []
        whole = False
        try:
            more = True
            while more:
                message = await self._next(receive, upload)
                if message["type"] == "http.disconnect":
                    raise _Gone
                chunk = message.get("body", b"")
                upload.received += len(chunk)
                self._count(buffered=len(chunk))
                if upload.received > self._limits.body_bytes:
                    raise self._too_large()
                if self._buffered > self._limits.buffered_bytes:
                    raise Refusal(
                        BUSY, "the server holds all the bytes it may; try again in a moment.", retry_after_s=5
                    )
                chunks.append(chunk)
                more = message.get("more_body", False)
            whole = True
            return b"".join(chunks)
        finally:
            self._uploads.discard(upload)
            self._count(buffered=0 if whole else -upload.received)

    def _begin_upload(self) -> _Upload:
        if len(self._uploads) >= self._limits.uploads:
            # The slowest is unlikely to be missed, and whoever fills the server with uploads has the slowest ones.
            slowest = min(self._uploads, key=_Upload.speed)
            slowest.gives_way.set()
            self._uploads.discard(slowest)
        upload = _Upload()
        self._uploads.add(upload)
        metrics.UPLOADS.set(len(self._uploads))
        return upload

    async def _next(self, receive: Receive, upload: _Upload) -> Message:
        limits = self._limits
        allowed = min(limits.upload_grace_s + upload.received / limits.upload_bytes_per_s, limits.upload_s)
        patience = upload.started + allowed - time.monotonic()
        message = asyncio.ensure_future(receive())
        pushed = asyncio.ensure_future(upload.gives_way.wait())
        try:
            await asyncio.wait({message, pushed}, timeout=max(patience, 0), return_when=asyncio.FIRST_COMPLETED)
            if not message.done():
                raise Refusal(TOO_SLOW, "the body arrives too slowly; send it again over a faster connection.")
            return message.result()
        finally:
            pushed.cancel()
            message.cancel()

    async def _answered(self, scope: Scope, body: bytes, receive: Receive, exchange: _Exchange) -> None:
        """Runs the route, and gives it up when the client hangs up."""
        gone = asyncio.ensure_future(receive())  # the body was read: only the end of the connection can come
        given = False

        async def replay() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await asyncio.shield(gone)

        scope.setdefault("state", {})["noted"] = exchange.noted
        answer = asyncio.ensure_future(self._app(scope, replay, exchange.send))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                await asyncio.wait({answer})
                exchange.status = exchange.status or _GONE
                return
            answer.result()
        finally:
            gone.cancel()
            answer.cancel()

    def _count(self, *, waiting: int = 0, buffered: int = 0) -> None:
        self._waiting += waiting
        self._buffered += buffered
        metrics.WAITING.set(self._waiting)
        metrics.BUFFERED.set(self._buffered)
        metrics.UPLOADS.set(len(self._uploads))
        if self._waiting:
            self._service.idle.clear()
        else:
            self._service.idle.set()

    def _too_large(self) -> Refusal:
        limit = self._limits.body_bytes
        return Refusal(TOO_LARGE, f"the body is larger than {limit:,} bytes; send fewer or smaller pictures.")


class _Exchange:
    """One request and its answer, for the metrics and the log."""

    def __init__(self, scope: Scope, send: Send, route: str | None) -> None:
        self._scope, self._send, self._route = scope, send, route
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        self.identity = given if given.isprintable() and 0 < len(given) <= 100 else uuid.uuid4().hex
        self.noted, self.status = Noted(), 0
        self.arrived = time.monotonic()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self.identity.encode("latin-1"))]
        await self._send(message)

    def close(self) -> None:
        """Count it and write its line; looking at the page and being probed is worth neither."""
        if self._route is None:
            return
        seconds, noted = time.monotonic() - self.arrived, self.noted
        metrics.answered(self._route, self.status, seconds, noted)
        known: dict[str, Any] = {
            "route": self._route,
            "status": self.status,
            "seconds": round(seconds, 4),
            "request_id": self.identity,
            "instances": noted.instances,
            "boxes": noted.boxes,
            "queued_s": round(noted.queued_s, 4),
            "batch": noted.batch,
            "prompt_tokens": noted.prompt_tokens,
            "reply_tokens": noted.reply_tokens,
        }
        if noted.unread:
            known["unread"] = noted.unread
        log.info("answered" if self.status < 400 else "refused", extra=fields(**known))


def is_open(path: str) -> bool:
    """What probes, Prometheus and a browser read before anybody gives a token. Examples may be somebody's photos."""
    if path in ("/", "/metrics", "/v1/models/deepperception", "/v2/models/deepperception/ready"):
        return True
    return path.startswith(("/v2/health/", "/page/")) and not path.startswith("/page/example")


def respond(refusal: Refusal) -> JSONResponse:
    """A refusal as every client meets it."""
    return JSONResponse({"error": refusal.sentence}, status_code=refusal.status, headers=refusal.headers)
