"""Where there is no engine, one sentence says why. The client and the engine are shell scripts here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from docker_engine import CommandFailed, Docker, Unavailable, engine, main


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing of the machine's own Docker, and a client that finds no engine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script(folder / "docker", 'case "$*" in --version) echo "Docker version 20.10.24, build x";; *) exit 1;; esac')
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DOCKER", str(folder / "docker"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return folder


def test_an_engine_that_answers_is_taken_and_left_running(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tools / "docker", 'case "$*" in --version) echo "Docker version 20.10.24, build x";; *) exit 0;; esac')
    monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere.sock")
    with engine() as docker:
        assert docker == Docker(str(tools / "docker"), "unix:///somewhere.sock")
        assert docker.environment["DOCKER_HOST"] == "unix:///somewhere.sock"


def test_a_client_that_cannot_build_is_refused(tools: Path) -> None:
    script(tools / "docker", 'case "$*" in --version) echo "Docker version 28.2.2, build x";; *) exit 1;; esac')
    with pytest.raises(Unavailable, match=r"cannot build \(no buildx\); install docker.io"), engine():
        pass


def test_no_client_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER", str(tmp_path / "docker"))
    with pytest.raises(Unavailable, match="there is no docker command"), engine():
        pass


def test_only_root_may_start_one(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tools / "dockerd", "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="only root may start one"), engine(tmp_path / "home"):
        pass


def test_an_engine_that_does_not_start_says_its_last_word(
    tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script(tools / "dockerd", "echo 'iptables: no permission' >&2; exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Unavailable, match="does not start here: iptables: no permission"), engine(tmp_path / "home"):
        pass


def test_a_private_engine_ends_with_the_block(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home, alive = tmp_path / "home", tmp_path / "alive"
    script(tools / "dockerd", f"trap ': > {alive}.ended; exit 0' TERM; : > {alive}; while :; do :; done")
    script(
        tools / "docker",
        'case "$*" in --version) echo "Docker version 20.10.24, build x";; '
        f'*"{home}"*) [ -e {alive} ];; *) exit 1;; esac',
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with engine(home) as docker:
        assert docker.host == f"unix://{home}/docker.sock"
        assert not Path(f"{alive}.ended").exists()
    assert Path(f"{alive}.ended").exists()


def test_what_a_command_said_last_is_its_error(tools: Path) -> None:
    script(tools / "docker", "echo working; echo first >&2; echo 'no such image' >&2; exit 1")
    docker = Docker(str(tools / "docker"), "unix:///somewhere.sock")
    with pytest.raises(CommandFailed, match=r"^no such image$"):
        docker.call("run", "it")
    assert docker.image_id("it") is None


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER", str(tmp_path / "docker"))
    assert main(["run", "--", "docker", "images"]) == 3
    assert capsys.readouterr().err.startswith("error: there is no docker command")
    assert main(["run"]) == 2
