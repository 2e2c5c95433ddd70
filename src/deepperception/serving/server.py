"""Serves a checkpoint over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deepperception.artifacts import payload_digest
from deepperception.artifacts.checkpoints import Interface, check_checkpoint, read_interface
from deepperception.errors import InputError
from deepperception.progress import Progress
from deepperception.serving.fetch import Fetcher, Origin
from deepperception.serving.limits import Batching, Limits
from deepperception.serving.live import LiveEngine
from deepperception.serving.requests import no_fetch

LOOPBACK = "127.0.0.1"
PORT = 8080

EngineName = Literal["auto", "transformers", "vllm"]
OpenEngine = Callable[..., Any]


@dataclass(frozen=True)
class Settings:
    """How to serve, beyond the limits of a request."""

    engine: EngineName = "auto"
    """auto: vllm where it is installed and there is a GPU, else transformers."""
    batching: Batching = field(default_factory=Batching)
    allow_urls: tuple[str, ...] = ()
    """Origins that pictures are fetched from; none by default."""
    token: str | None = None
    """What every request must bring; None lets everybody in."""
    golden: Path | None = None
    """A dataset file whose pictures the model must get right before it is ready."""
    golden_share: float = 1.0
    digest: str | None = None
    """sha256:... that the folder's payload must have."""
    drain_s: float = 60.0
    """How long to finish what was taken, when told to stop."""


def serve(
    folder: Path,
    *,
    host: str = LOOPBACK,
    port: int = PORT,
    limits: Limits | None = None,
    settings: Settings | None = None,
    open_engine: OpenEngine | None = None,
    progress: Progress | None = None,
) -> None:
    """Serves the checkpoint as the KServe model "deepperception" until SIGTERM or SIGINT.

    It listens at once and answers 503 until the model has loaded and its golden pictures passed: wait for 200 from
    `/v1/models/deepperception`. Port 0 takes a free one; the address is said when ready. Prompt, picture size and reply
    length are the model's own (its interface file). `open_engine`, called as `open_engine(folder, max_pixels=...)`,
    replaces the engine by another Engine or LiveEngine.

    InputError where the folder is no checkpoint, has another digest, or the port cannot be had; GateRefused where the
    model gets its golden pictures wrong.
    """
    settings, limits = settings or Settings(), limits or Limits()
    check_checkpoint(folder)
    interface = read_interface(folder)
    _check_digest(folder, settings.digest)
    origins = [Origin.parse(text) for text in settings.allow_urls]
    fetch = Fetcher(origins, max_bytes=limits.picture_bytes).fetch if origins else no_fetch
    golden, examples = _pictures(settings.golden)
    port = claim_port(host, port)
    said = progress or Progress("serve")
    said.say(f"loading {folder}")

    from deepperception.serving.kserve_app import MODEL_NAME, Start, run_server
    from deepperception.serving.service import Service

    def load() -> tuple[LiveEngine, Interface]:
        return _open(folder, interface, settings, open_engine), interface

    start = Start(
        open_engine=load,
        golden=golden,
        golden_share=settings.golden_share,
        examples=examples,
        fetch=fetch,
        token=settings.token,
        host=host,
        port=port,
        drain_s=settings.drain_s,
        on_ready=lambda: said.say(f"ready at http://{host}:{port}/v1/models/{MODEL_NAME}:predict"),
    )
    run_server(Service(limits), start)


def _open(folder: Path, interface: Interface, settings: Settings, open_engine: OpenEngine | None) -> LiveEngine:
    name = settings.engine
    if open_engine is None and (name == "vllm" or (name == "auto" and _has_vllm())):
        from deepperception.serving.vllm_engine import VllmEngine

        return VllmEngine.load(folder, max_pixels=interface.max_pixels)
    from deepperception.serving.batching import MicroBatcher

    if open_engine is None:
        from deepperception.inference.streaming import StreamingEngine

        open_engine = StreamingEngine
    engine: Any = open_engine(folder, max_pixels=interface.max_pixels)
    return engine if hasattr(engine, "close") else MicroBatcher(engine, settings.batching)


def _has_vllm() -> bool:
    from importlib.util import find_spec

    from deepperception.inference.backend import device

    return find_spec("vllm") is not None and device() == "cuda"


def _check_digest(folder: Path, digest: str | None) -> None:
    if digest is not None and (found := payload_digest(folder)) != digest:
        raise InputError(f"{folder}: the digest is {found}, not {digest}; copy the checkpoint again.")


def _pictures(file: Path | None) -> tuple[Sequence[Any], Sequence[Any]]:
    """What the model must answer, and what the page offers."""
    from deepperception.serving.golden import Golden, any_picture, read_golden

    if file is not None:
        golden = read_golden(file)
        return golden, golden
    from deepperception.bestiary.examples import examples

    return [any_picture()], [Golden(image, entity) for image, entity in examples()]


def claim_port(host: str, port: int) -> int:
    """The port itself where it is free, a free one for 0; InputError otherwise."""
    # The server would end with a log line and exit code 1; here the user gets the sentence.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"cannot listen on {host} port {port} ({error}); choose another with --host or --port."
            ) from None
        return int(probe.getsockname()[1])
