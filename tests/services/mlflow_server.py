"""A real MLflow server on a free port: SQLite behind it, basic authentication in front; stopped, killed, restarted.

By hand: `python tests/services/mlflow_server.py FOLDER` starts one and prints how to reach it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-mlflow"
MISSING = "the MLflow server is not set up here; make .venv-mlflow/ready"
_STARTS_IN_S = 180
_ADMIN, _USER = "admin", "runs"


def is_installed() -> bool:
    """Whether `make .venv-mlflow/ready` was done."""
    return (ENVIRONMENT / "ready").is_file()


class MlflowServer:
    """One server; its data, user and port survive stop, kill and start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.admin_password, self.password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_user = False

    def start(self) -> MlflowServer:
        """Start it on the folder's data and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "auth.ini").write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = "
            f"sqlite:///{self.folder / 'auth.db'}\nadmin_username = {_ADMIN}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 600\n"  # a password costs a second at every request otherwise
        )
        command = [ENVIRONMENT / "bin" / "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--app-name", "basic-auth"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", (self.folder / "artifacts").as_uri(), "--serve-artifacts"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,  # its workers die with it
            )
        self._wait_until_ready()
        if not self._has_user:
            self._ask("/api/2.0/mlflow/users/create", {"username": _USER, "password": self.password})
            self._has_user = True
        return self

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def credentials(self) -> dict[str, str]:
        """Environment variables of a client: a user with no rights but on what it makes."""
        return {"MLFLOW_TRACKING_USERNAME": _USER, "MLFLOW_TRACKING_PASSWORD": self.password}

    def _ask(self, path: str, body: dict[str, str] | None = None) -> None:
        """A request of the administrator's; urllib's errors."""
        login = base64.b64encode(f"{_ADMIN}:{self.admin_password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode() if body else None, headers)
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, number)
        self._process.wait()
        if number is not signal.SIGKILL:  # a worker that outlives its master would keep the port
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _STARTS_IN_S
        while True:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"no MLflow server came up; {self.folder / 'server.log'} says why")
            try:
                return self._ask("/health")
            except OSError:  # urllib's errors are
                time.sleep(0.1)

    def _environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return mine | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{self.port}",
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.admin_password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }


if __name__ == "__main__":
    server = MlflowServer(Path(sys.argv[1]).absolute()).start()
    for name, value in {"MLFLOW_TRACKING_URI": server.url, **server.credentials()}.items():
        print(f"{name}={value}", flush=True)
    try:
        signal.pause()
    finally:
        server.stop()
