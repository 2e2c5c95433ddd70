"""The model as a KServe model, and KServe's server as this project runs it.

Importing this module imports kserve, which takes seconds: import it where the server starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request
from fastapi.exceptions import FastAPIDeprecationWarning
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepperception.serving.finder import Finder
from deepperception.serving.requests import BUSY, FAILED, NOT_UNDERSTOOD, TOO_LARGE, Limits, Refusal, read_queries


@contextlib.contextmanager
def _own_arguments_hidden() -> Iterator[None]:
    """KServe parses the program's arguments when it is imported, and takes ours for abbreviations of its own."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments


with _own_arguments_hidden():
    import kserve  # type: ignore[import-untyped]
    from kserve.errors import ModelNotReady  # type: ignore[import-untyped]
    from kserve.model_server import app  # type: ignore[import-untyped]

log = logging.getLogger("kserve.deepperception")

MODEL_NAME = "deepperception"


class GroundingModel(kserve.Model):
    """Answers v1 predict requests. Ready once `load_engine` has returned."""

    def __init__(self, open_finder: Callable[[], Finder], limits: Limits) -> None:
        super().__init__(MODEL_NAME)
        self._open_finder = open_finder
        self._limits = limits
        self._finder: Finder | None = None
        # One thread owns the engine: its calls never overlap, and the event loop goes on answering health checks.
        self._engine_thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        # Few readers: each may hold a decoded picture of many megabytes.
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="reader")

    async def load_engine(self) -> None:
        loop = asyncio.get_running_loop()
        self._finder = await loop.run_in_executor(self._engine_thread, self._open_finder)
        self.ready = True

    async def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """All instances of a request go to the engine in one call."""
        if not isinstance(payload, (bytes, dict)):
            raise Refusal(
                NOT_UNDERSTOOD, f"this model speaks the v1 protocol; post to /v1/models/{MODEL_NAME}:predict."
            )
        try:
            loop = asyncio.get_running_loop()
            queries = await loop.run_in_executor(self._readers, read_queries, payload, self._limits)
            assert self._finder is not None  # KServe asks only models that are ready
            predictions = await loop.run_in_executor(self._engine_thread, self._finder.find, queries)
        except Refusal:
            raise
        except Exception:
            log.exception("the engine failed")
            raise Refusal(FAILED, "the model failed on this request; its log says why.") from None
        return {"predictions": [prediction.to_json() for prediction in predictions]}


class Server(kserve.ModelServer):
    """KServe's server, listening at once and ready when the model has loaded. HTTP only."""

    def __init__(self, model: GroundingModel, *, host: str, port: int, on_ready: Callable[[], None]) -> None:
        super().__init__(http_port=port, enable_grpc=False, enable_latency_logging=False)
        self._model, self._host, self._on_ready = model, host, on_ready

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; raises what loading raised."""
        self.register_model(self._model)
        # No model is passed here: KServe would refuse to start before one is ready.
        self.start([])

    async def _serve(self) -> None:
        # KServe 0.21 listens on every address and has no argument for it; super()._serve() binds the socket.
        self._rest_server.config.host = self._host
        http = asyncio.ensure_future(super()._serve())
        loading = asyncio.ensure_future(self._model.load_engine())
        await asyncio.wait({http, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and loading.exception() is None and not http.done():
            self._on_ready()
        if loading.done() and loading.exception() is not None:
            self._rest_server._server.should_exit = True
        await http
        if loading.done():
            loading.result()


class BodyGuard:
    """Limits how many bodies there are at once and how large each gets, and leaves the reading to the model.

    KServe reads whole bodies into memory, passes on untouched what is not JSON by its content type ("; charset=utf-8"
    is enough for that), and answers some malformed CloudEvents with 500. Here every predict body reaches the model as
    bytes.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limit, self._waiting = app, limits.body_bytes, limits.waiting
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":  # whatever else there is has no body that is read
            await self._app(scope, receive, send)
            return
        if refusal := self._refusal(scope):
            await _respond(refusal)(scope, receive, send)
            return
        if scope["path"].endswith(":predict"):
            scope["headers"] = _as_plain_bytes(scope["headers"])
        self._requests += 1
        try:
            await self._app(scope, self._counted(receive), send)
        finally:
            self._requests -= 1

    def _refusal(self, scope: Scope) -> Refusal | None:
        """What can be refused before any of the body is read."""
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limit:
            return self._too_large()
        if self._requests >= self._waiting:
            return Refusal(BUSY, f"{self._requests} requests are waiting already; try again in a moment.")
        return None

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> Refusal:
        return Refusal(TOO_LARGE, f"the body is larger than {self._limit:,} bytes; send fewer or smaller pictures.")


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """KServe logs a traceback each time that a probe asks a model that still loads."""
    return not (record.exc_info and isinstance(record.exc_info[1], ModelNotReady))


def run_server(
    open_finder: Callable[[], Finder], *, host: str, port: int, limits: Limits, on_ready: Callable[[], None]
) -> None:
    """Serves until it is told to stop. `open_finder` loads the model, in a thread of its own."""
    logging.getLogger("kserve").addFilter(_is_worth_a_line)
    warnings.filterwarnings("ignore", category=FastAPIDeprecationWarning)  # of how KServe uses it
    app.add_middleware(BodyGuard, limits=limits)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    Server(GroundingModel(open_finder, limits), host=host, port=port, on_ready=on_ready).run()


def _as_plain_bytes(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name != b"content-type" and not name.startswith(b"ce-")]
    return [*kept, (b"content-type", b"text/plain")]


async def _refused(_: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, Refusal)
    return _respond(refusal)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.detail}."}, status_code=error.status_code, headers=_plain(error.headers))


def _respond(refusal: Refusal) -> JSONResponse:
    return JSONResponse({"error": refusal.sentence}, status_code=refusal.status)


def _plain(headers: Any) -> MutableMapping[str, str] | None:
    return dict(headers) if headers else None
