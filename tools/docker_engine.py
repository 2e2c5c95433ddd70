"""A Docker engine to build and run images with: the one that is there, or a private one for as long as it is needed.

    python tools/docker_engine.py run -- docker images      a command, with DOCKER_HOST set for it

The private engine needs root and Debian's packages (apt-get install --no-install-recommends docker.io). It has a socket
and a data folder of its own, below ~/.cache/deepperception/engine, so that what it built is there the next time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepperception" / "engine"
_PATIENCE_S = 60.0  # a machine may be busy; an engine that has ended is noticed at once
_POLL_S = 0.2


class Unavailable(Exception):
    """There is no engine to be had; one sentence that says why."""


class CommandFailed(Exception):
    """What the client said to a command that failed."""


@dataclass(frozen=True)
class Docker:
    """A client, and the engine that it talks to."""

    client: str
    host: str

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that is to use this engine."""
        return os.environ | {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}

    def call(self, *arguments: str) -> str:
        """The client's standard output; CommandFailed with its last words."""
        done = subprocess.run(
            [self.client, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CommandFailed((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
        return done.stdout.strip()

    def image_id(self, name: str) -> str | None:
        """sha256:..., or None where the engine does not have the image."""
        try:
            return self.call("image", "inspect", "--format", "{{.Id}}", name)
        except CommandFailed:
            return None


@contextmanager
def engine(home: Path = HOME) -> Iterator[Docker]:
    """The engine that DOCKER_HOST or the usual socket leads to; else a private one, which ends with the block.

    Unavailable where neither can be had.
    """
    client = _client()
    socket = f"unix://{home / 'docker.sock'}"
    for host in (os.environ.get("DOCKER_HOST"), "unix:///var/run/docker.sock", socket):
        if host and _answers(client, host):
            yield Docker(client, host)
            return
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if dockerd is None or os.geteuid() != 0:
        what = "dockerd is not installed" if dockerd is None else "only root may start one"
        raise Unavailable(f"no Docker engine answers, and {what}; set DOCKER_HOST, or install docker.io as root.")
    with _daemon(dockerd, client, socket, home):
        yield Docker(client, socket)


@contextmanager
def _daemon(dockerd: str, client: str, socket: str, home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    log = home / "dockerd.log"
    folders = ["--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "--pidfile", str(home / "pid")]
    with log.open("w") as output:
        process = subprocess.Popen(
            # A session of its own: a Ctrl-C is for the builds, which the engine then ends in order.
            [dockerd, "--host", socket, *folders],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not _answers(client, socket):
            if process.poll() is not None or time.monotonic() > deadline:
                last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing."])[-1]
                raise Unavailable(f"a private Docker engine does not start here: {last} ({log})")
            time.sleep(_POLL_S)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _answers(client: str, host: str) -> bool:
    command = [client, "--host", host, "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _client() -> str:
    """The first client that can build with BuildKit: newer ones need a plug-in for that, Debian's needs none."""
    named = os.environ.get("DOCKER")
    candidates = [named] if named else [shutil.which("docker"), "/usr/bin/docker"]
    found = [client for client in candidates if client and shutil.which(client)]
    for client in found:
        if _builds(client):
            return client
    what = f"{', '.join(found)} cannot build (no buildx)" if found else "there is no docker command"
    raise Unavailable(f"{what}; install docker.io, or name another client by DOCKER.")


def _builds(client: str) -> bool:
    if subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode == 0:
        return True
    said = subprocess.run([client, "--version"], capture_output=True, text=True, check=False).stdout
    major = said.partition("version ")[2].partition(".")[0]
    return major.isdigit() and int(major) < 23


def main(arguments: Sequence[str]) -> int:
    if arguments[:2] != ["run", "--"] or len(arguments) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with engine() as docker:
            command = [docker.client if arguments[2] == "docker" else arguments[2], *arguments[3:]]
            return subprocess.run(command, env=docker.environment, check=False).returncode
    except Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
