"""Writes that a kill, a second process or a full disk cannot leave half done."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deepperception.errors import InputError

TEMPORARY_SUFFIX = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries in other languages keep only the text of the system's error (safetensors, sqlite, torch).
_FULL_TEXTS = ("no space left on device", "disk quota exceeded", "database or disk is full")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a neighbouring path to write to; it takes `path`'s place, synced, once the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small file: it is there whole, or it is as it was."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def discard(folder: Path) -> None:
    """Delete a folder and all that it holds; a folder that is not there is as good."""
    if folder.exists():
        shutil.rmtree(folder)


def sync(path: Path) -> None:
    """Make a file, or the list of names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, when_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; where another process holds it, call `when_waiting` once and wait.

    The kernel lets go of the lock when its holder dies, however it dies. The file stays: deleting it would let two
    processes lock two different files of the same name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is at the bottom of this error, through whatever it was wrapped in."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error).lower() for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def reporting_full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk into one sentence (InputError); every other error passes."""
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise InputError(
            f"{path}: the disk is full; free some space and run again, finished stages are kept."
        ) from error
