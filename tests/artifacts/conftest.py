"""Processes that die for real, disks that are really full, and what most tests write."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepperception.grounding import Box, Object, Sample, Source, answer_text, question
from deepperception.progress import Progress

# Every way in which the package changes the disk passes through one of these.
_STEPS = ("fsync", "rename", "replace", "link", "rmdir", "mkdir", "unlink")


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def progress(log: io.StringIO) -> Progress:
    return Progress("", log)


@pytest.fixture
def killed_at() -> Callable[[int, Callable[[], Any]], bool]:
    """`killed_at(n, work)` does `work` in a process that SIGKILLs itself before its n-th change to the disk.

    False where the work was finished before that.
    """

    def attempt(step: int, work: Callable[[], Any]) -> bool:
        child = os.fork()
        if child == 0:
            _die_at(step)
            try:
                work()
            except BaseException:
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return True
        assert os.waitstatus_to_exitcode(status) == 0, "the work failed, where it should have been killed or finished"
        return False

    return attempt


def _die_at(step: int) -> None:
    done = 0

    def counting(original: Any) -> Any:
        def change(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done > step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return change

    for name in _STEPS:
        setattr(os, name, counting(getattr(os, name)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """A row with all columns filled; give the fields that matter."""

    def make(number: int = 0, **fields: Any) -> Sample:
        box = Box(10, 20, 510, 520)
        entity = f"Clumber Spaniel {number}"
        given = {
            "question_id": f"dog/{number}",
            "category": "dog",
            "question": question(entity),
            "answer": answer_text(entity, box),
            "image": b"\x89PNG" + bytes([number % 256]) * 40,
            "entity": entity,
            "objects": (Object(entity, box), Object("Sussex Spaniel", Box(520.5, 0, 1000, 1000))),
            "reasoning": "It is the white one.",
            "sources": (Source("dog/1", "CC0-1.0"), Source("dog/2", "CC-BY-4.0")),
            "split": "train",
            "seen": True,
        }
        return Sample(**(given | fields))

    return make
