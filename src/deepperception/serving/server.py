"""Serves a checkpoint over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from deepperception.artifacts.checkpoints import check_checkpoint, read_interface
from deepperception.errors import InputError
from deepperception.inference.engine import Engine
from deepperception.progress import Progress
from deepperception.serving.finder import Finder
from deepperception.serving.requests import Limits

LOOPBACK = "127.0.0.1"
PORT = 8080


def serve(
    folder: Path,
    *,
    host: str = LOOPBACK,
    port: int = PORT,
    limits: Limits | None = None,
    open_engine: Callable[..., Engine] | None = None,
    progress: Progress | None = None,
) -> None:
    """Serves the checkpoint as the KServe model "deepperception" until SIGTERM or SIGINT.

    It listens at once and answers 503 until the model has loaded: wait for 200 from `/v1/models/deepperception`. Port 0
    takes a free one; the address is said when ready. Prompt, picture size and reply length are the model's own (its
    interface file). InputError where the folder is no checkpoint or the port cannot be had.
    """
    check_checkpoint(folder)
    read_interface(folder)
    port = claim_port(host, port)
    said = progress or Progress("serve")
    said.say(f"loading {folder}")

    from deepperception.serving.kserve_app import MODEL_NAME, run_server

    run_server(
        lambda: Finder.load(folder, open_engine),
        host=host,
        port=port,
        limits=limits or Limits(),
        on_ready=lambda: said.say(f"ready at http://{host}:{port}/v1/models/{MODEL_NAME}:predict"),
    )


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
