"""Runs a built image as a cluster would: nothing to write to but /tmp and /work, and no rights."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker_engine import CommandFailed, Docker
from environment import ROOT

from images import LISTED


@dataclass(frozen=True)
class Built:
    """An image that `make images` made, by what images.json says of it."""

    docker: Docker
    name: str
    facts: dict[str, Any]

    @property
    def source(self) -> Path:
        """Where its Dockerfile and lock are."""
        return ROOT / "images" / self.name

    def command(self, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        bounds = ["--read-only", "--tmpfs", "/tmp", "--tmpfs", "/work:uid=10001,gid=10001"]
        bounds += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        return [self.docker.client, "run", "--rm", *bounds, *options, self.facts["image"], *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command in the image, without a network."""
        command = self.command(*arguments, options=("--network", "none"))
        return subprocess.run(command, env=self.docker.environment, capture_output=True, text=True, check=False)

    @contextmanager
    def started(self, port: int, *arguments: str, options: tuple[str, ...] = ()) -> Iterator[Container]:
        """A container of its own that publishes `port` on a free one of the loopback."""
        published = ("--detach", "--publish", f"127.0.0.1::{port}", *options)
        command = self.command(*arguments, options=published)
        done = subprocess.run(command, env=self.docker.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        identity = done.stdout.strip()
        try:
            address = self.docker.call("port", identity, f"{port}/tcp").splitlines()[0]
            yield Container(self.docker, identity, f"http://{address}")
        finally:
            self.docker.call("rm", "--force", identity)


@dataclass(frozen=True)
class Container:
    docker: Docker
    identity: str
    url: str

    def wait_healthy(self, patience_s: float = 300.0) -> None:
        """By the image's own health check."""
        deadline = time.monotonic() + patience_s
        while (state := self._state()) != "running healthy":
            assert state.startswith("running") and time.monotonic() < deadline, f"{state}\n{self.logs()}"
            time.sleep(0.5)

    def logs(self) -> str:
        done = subprocess.run(
            [self.docker.client, "logs", self.identity],
            env=self.docker.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    def _state(self) -> str:
        try:
            return self.docker.call("inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", self.identity)
        except CommandFailed:
            return f"gone\n{self.logs()}"


def built(docker: Docker, name: str) -> Built:
    listed = json.loads(LISTED.read_text(encoding="utf-8")) if LISTED.exists() else {}
    if name not in listed or docker.image_id(listed[name]["image"]) is None:
        pytest.skip(f"the image '{name}' is not built; make images first")
    return Built(docker, name, listed[name])
