"""This machine as the place where models are served: `deepperception serve` on a free port."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deepperception.errors import InfrastructureError
from deepperception.promotion.cluster import Corners
from deepperception.serving.client import TOKEN, ask_server, is_ready, read_metrics
from deepperception.serving.server import LOOPBACK, claim_port

_PATIENCE_S = 600.0  # a machine may be busy; a server that has ended is noticed at once
_POLL_S = 0.5
_POLL_TIMEOUT_S = 5.0
_GRACE_S = 10.0


class LocalServer:
    """Implements promotion's Cluster."""

    @contextmanager
    def serving(self, model: Path) -> Iterator[str]:
        """Serve the checkpoint folder while the block runs; gives the URL once the model has loaded.

        InfrastructureError, with the server's last word, where it does not get that far.
        """
        port = claim_port(LOOPBACK, 0)
        url = f"http://{LOOPBACK}:{port}"
        command = [sys.executable, "-m", "deepperception.cli", "serve", "--model", str(model), "--port", str(port)]
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            server = subprocess.Popen([*command, "--for-parent", str(os.getpid())], stdout=log, stderr=log)
            try:
                _wait_until_ready(url, server, log)
                yield url
            finally:
                _stop(server)

    def ask(self, url: str, image: bytes, entity: str) -> Corners | None:
        """Over HTTP, like any client of the service."""
        return ask_server(url, image, entity, token=os.environ.get(TOKEN)).box_1000

    def metrics(self, url: str) -> str:
        """Over HTTP, as Prometheus asks."""
        return read_metrics(url)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: IO[str]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_ready(url, timeout_s=_POLL_TIMEOUT_S):
        if server.poll() is not None:
            raise InfrastructureError(f"the model server ended before it was ready: {_last_line(log)}")
        if time.monotonic() > deadline:
            raise InfrastructureError(f"the model server was not ready after {_PATIENCE_S:.0f} s: {_last_line(log)}")
        time.sleep(_POLL_S)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    return lines[-1] if lines else "it said nothing."
