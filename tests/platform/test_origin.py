"""Commit and image come from the environment, or from a checkout that holds this very code."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deepperception.platform import origin


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (origin.COMMIT, origin.IMAGE):
        monkeypatch.delenv(name, raising=False)
    origin._commit.cache_clear()


def checkout(folder: Path, monkeypatch: pytest.MonkeyPatch, *, tracked: bool) -> str:
    """A git repository with the package in it; its commit."""
    package = folder / "src" / "deepperception" / "platform"
    package.mkdir(parents=True)
    (package / "origin.py").write_text("# the code\n")
    (folder / "README.md").write_text("a project\n")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", "." if tracked else "README.md")
    git("commit", "-qm", "first")
    monkeypatch.setattr(origin, "__file__", str(package / "origin.py"))
    return git("rev-parse", "HEAD")


def test_a_checkout_knows_its_commit_and_whether_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = checkout(tmp_path, monkeypatch, tracked=True)
    assert origin.of_this_process()["commit"] == commit
    (tmp_path / "src" / "deepperception" / "platform" / "origin.py").write_text("# changed\n")
    origin._commit.cache_clear()
    assert origin.of_this_process()["commit"] == f"{commit}-dirty"
    monkeypatch.setenv(origin.COMMIT, "c0ffee")
    assert origin.of_this_process()["commit"] == "c0ffee"


def test_another_projects_checkout_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout(tmp_path, monkeypatch, tracked=False)
    assert set(origin.of_this_process()) == {"release"}


def test_without_git_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert set(origin.of_this_process()) == {"release"}
