"""A process with the heavy imports behind it, which forks for every step of a run on this machine.

KFP's local runner starts a new interpreter for every component. Torch, TRL and MLflow take longer to import than most
of the laptop's stages take to run, so the steps hand their call, and their standard output and error, to this process
over a socket, and wait for the reply. It imports while the first stages run. Clusters know nothing of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepperception.errors import InfrastructureError
from deepperception.platform import lifeline

VARIABLE = "DEEPPERCEPTION_WARM_WORKER"
# In the order in which the stages need them. A fork has what is imported by then, and imports the rest itself.
HEAVY = (
    "deepperception.platform.stages",
    "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "torch",
    "transformers.models.qwen2_vl.modeling_qwen2_vl",
    "transformers.generation.utils",
    "datasets",
    "trl.trainer.sft_trainer",
    "trl.trainer.grpo_trainer",
    "scipy.stats",
    "matplotlib.figure",
)


@contextlib.contextmanager
def worker(log: Path, heavy: Sequence[str] = HEAVY) -> Iterator[None]:
    """Have such a process, at hand of all steps started meanwhile; it ends with the block, or with this process."""
    with tempfile.TemporaryDirectory(prefix="deepperception-") as folder, log.open("a") as output:
        address = str(Path(folder, "steps"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            command = [sys.executable, "-m", "deepperception.platform.warm", str(listener.fileno()), *heavy]
            process = subprocess.Popen(command, stdout=output, stderr=output, pass_fds=[listener.fileno()])
        os.environ[VARIABLE] = address
        try:
            yield
        finally:
            del os.environ[VARIABLE]
            process.kill()
            process.wait()


def ask(call: str) -> dict[str, Any] | None:
    """The reply of a fork of the worker, which uses this process's output; None where there is no worker (any more)."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.environ[VARIABLE])
        except (KeyError, OSError):
            return None
        sys.stdout.flush()
        try:
            socket.send_fds(connection, [b"\n"], [1, 2])
            connection.sendall(call.encode())
            connection.shutdown(socket.SHUT_WR)
            reply = _read(connection)
        except ConnectionError:
            reply = b""
    if not reply:
        message = "its process was killed; the machine may have too little memory."
        return {"error": InfrastructureError.__name__, "message": message, "exit_code": InfrastructureError.exit_code}
    return dict(json.loads(reply))


def _serve(listener: socket.socket, heavy: Iterator[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the run, and that ends the steps
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the forks
    more = True
    while True:
        ready, _, _ = select.select([listener], [], [], 0 if more else None)
        if not ready:
            more = _import_next(heavy)
            continue
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                listener.close()
                _run(connection)


def _run(connection: socket.socket) -> None:
    """The fork's whole life."""
    from deepperception.platform.attempts import attempt

    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        lifeline.die_with_run()
        _, (stdout, stderr), _, _ = socket.recv_fds(connection, 1, 2)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        reply = attempt(_read(connection).decode())
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(json.dumps(reply).encode())
        code = 0
    finally:
        os._exit(code)  # never back into the worker's loop, nor through its clean-up


def _read(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def _import_next(names: Iterator[str]) -> bool:
    name = next(names, None)
    if name is not None:
        with contextlib.suppress(Exception):  # the stage that needs it will say so
            importlib.import_module(name)
    return name is not None


if __name__ == "__main__":
    lifeline.die_with_run()
    _serve(socket.socket(fileno=int(sys.argv[1])), iter(sys.argv[2:]))
