"""The model as a KServe model, and KServe's server as this project runs it.

Importing this module imports kserve, which takes seconds: import it where the server starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import FastAPIDeprecationWarning, RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from deepperception.artifacts.checkpoints import Interface
from deepperception.serving import metrics
from deepperception.serving.browser import page
from deepperception.serving.finder import Prediction, Query
from deepperception.serving.gate import Gate, respond
from deepperception.serving.golden import Golden, check
from deepperception.serving.health import health
from deepperception.serving.limits import FAILED, NOT_UNDERSTOOD, UNAVAILABLE, Noted, Refusal
from deepperception.serving.live import LiveEngine
from deepperception.serving.logs import configure, fields
from deepperception.serving.protocol import impatient
from deepperception.serving.requests import Fetch
from deepperception.serving.routes import MODEL_NAME, routes
from deepperception.serving.service import Service


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
    from kserve.metrics import PREDICT_HIST_TIME, get_labels  # type: ignore[import-untyped]
    from kserve.model_server import app  # type: ignore[import-untyped]

log = logging.getLogger("deepperception.serving")

_AFTER_DRAIN_S = 5


@dataclass(frozen=True)
class Start:
    """What a server is made of."""

    open_engine: Callable[[], tuple[LiveEngine, Interface]]
    """Loads the model; called in a thread."""
    golden: Sequence[Golden]
    golden_share: float
    examples: Sequence[Golden]
    fetch: Fetch
    token: str | None
    host: str
    port: int
    drain_s: float
    on_ready: Callable[[], None]


class GroundingModel(kserve.Model):
    """What KServe knows of the model: its name, and whether it is ready."""

    def __init__(self, service: Service) -> None:
        super().__init__(MODEL_NAME)
        self._service = service

    async def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> list[Prediction]:
        """For KServe's own callers in this process; HTTP has routes of its own."""
        queries: Sequence[Query] = payload
        return await self._service.predict(queries, Noted())

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("image", "entity")]

    def get_output_types(self) -> list[dict[str, Any]]:
        boxes = {"name": "box", "datatype": "FP32", "shape": [-1, 4]}
        return [boxes, {"name": "text", "datatype": "BYTES", "shape": [-1]}]


class Server(kserve.ModelServer):
    """KServe's server, listening at once, ready when the golden pictures passed, drained before it ends. HTTP only."""

    def __init__(self, service: Service, start: Start) -> None:
        super().__init__(http_port=start.port, enable_grpc=False, enable_latency_logging=False)
        self.grace_period = _AFTER_DRAIN_S
        self._service, self._start_with = service, start
        self._model = GroundingModel(service)
        self._ending: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; raises what loading raised."""
        self.register_model(self._model)
        # No model is passed here: KServe would refuse to start before one is ready.
        self.start([])

    async def _serve(self) -> None:
        rest, start = self._rest_server, self._start_with
        # KServe 0.21 listens on every address, has no argument for it, and times every request twice for a log.
        rest.config.host, rest.config.http = start.host, impatient(self._service.limits.headers_s)
        rest._add_middlewares = _add_nothing
        # Of KServe's own routes some would let anybody unload the model.
        rest._register_endpoints = lambda into: into.include_router(health(self._service, self.dataplane))
        add_handlers = rest._add_exception_handlers
        rest._add_exception_handlers = lambda to: _handle_alike(to, add_handlers)
        loop = asyncio.get_running_loop()
        rest._server.handle_exit = self._on_signal(loop)
        http = asyncio.ensure_future(super()._serve())
        loading = asyncio.ensure_future(self._load())
        await asyncio.wait({http, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and loading.exception() is None and not http.done():
            start.on_ready()
        if loading.done() and loading.exception() is not None:
            rest._server.should_exit = True
        await http
        if loading.done():
            loading.result()
        await self._service.close()

    async def _load(self) -> None:
        start, service = self._start_with, self._service
        engine, service.interface = await asyncio.get_running_loop().run_in_executor(None, start.open_engine)
        service.engine = engine
        right = await check(service, start.golden, start.golden_share)
        log.info("ready", extra=fields(golden=len(start.golden), right=right, **engine.backend))
        self._model.ready = service.ready = True
        metrics.READY.set(1)

    def _on_signal(self, loop: asyncio.AbstractEventLoop) -> Callable[[int, FrameType | None], None]:
        def handle(_: int, __: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._begin_to_end)

        return handle

    def _begin_to_end(self) -> None:
        """At the first signal: finish what was taken, take nothing more. At the second one: end now."""
        if self._ending is not None:
            self._rest_server._server.should_exit = self._rest_server._server.force_exit = True
            return
        self._model.ready, self._service.draining = False, True
        metrics.READY.set(0)
        self._ending = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        log.info("draining", extra=fields(idle=self._service.idle.is_set()))
        try:
            await asyncio.wait_for(self._service.idle.wait(), self._start_with.drain_s)
        except TimeoutError:
            log.warning("not all requests were answered in time", extra=fields(drain_s=self._start_with.drain_s))
        self._rest_server._server.should_exit = True


def run_server(service: Service, start: Start) -> None:
    """Serves until it is told to stop."""
    warnings.filterwarnings("ignore", category=FastAPIDeprecationWarning)  # of how KServe uses it
    configure()
    # The engine's thread is to get the interpreter back at once: the default makes it wait 5 ms for each busy thread.
    sys.setswitchinterval(0.0005)
    metrics.begin()
    app.title, app.version = "DeepPerception", metadata.version("deepperception")
    app.include_router(page(start.examples))
    app.include_router(routes(_timed(service), start.fetch))
    app.add_middleware(Gate, service=service, token=start.token)
    Server(service, start).run()


def _timed(service: Service) -> Service:
    """Predictions count in KServe's own histogram, too, which dashboards and alerts know."""
    predict = service.predict

    async def timed(queries: Sequence[Query], noted: Noted) -> list[Prediction]:
        with PREDICT_HIST_TIME.labels(**get_labels(MODEL_NAME)).time():
            return await predict(queries, noted)

    service.predict = timed  # type: ignore[method-assign]
    return service


def _add_nothing(_: FastAPI) -> None:
    return None


def _handle_alike(to: FastAPI, add_handlers: Callable[[FastAPI], None]) -> None:
    """KServe's handlers, and ours, so that every error has one shape."""
    add_handlers(to)
    to.add_exception_handler(Refusal, _refused)
    to.add_exception_handler(HTTPException, _http_error)
    to.add_exception_handler(RequestValidationError, _not_valid)
    to.add_exception_handler(ModelNotReady, _not_ready)
    to.add_exception_handler(Exception, _failed)


async def _refused(_: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, Refusal)
    return respond(refusal)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers: MutableMapping[str, str] | None = dict(error.headers) if error.headers else None
    return JSONResponse({"error": f"{error.detail}."}, status_code=error.status_code, headers=headers)


async def _not_valid(_: Request, __: Exception) -> JSONResponse:
    return respond(
        Refusal(NOT_UNDERSTOOD, "the address or the body does not fit this route; /openapi.json says what does.")
    )


async def _not_ready(_: Request, __: Exception) -> JSONResponse:
    return respond(Refusal(UNAVAILABLE, f"Model with name {MODEL_NAME} is not ready."))


async def _failed(_: Request, __: Exception) -> JSONResponse:
    return respond(Refusal(FAILED, "the server failed on this request; its log says why."))
