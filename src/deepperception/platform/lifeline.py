"""Ends the processes of a run when the run ends, however it ends; and keeps a second run out of its folder.

The command that runs the pipeline holds a lock on a file for as long as it lives; the kernel lets go of it when the
command dies, even by SIGKILL. Each step's process waits for that lock in a thread, and getting it is the sign to stop.
(The death of its parent would be no such sign: KFP puts a shell between.)
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deepperception.artifacts.disk import is_full
from deepperception.errors import InputError

VARIABLE = "DEEPPERCEPTION_LIFELINE"
_PATIENCE_S = 3.0
_PR_SET_PDEATHSIG = 1
_STOPPED = 130

_held: list[IO[str]] = []


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lifeline of a run in `folder`; InputError where another run has it, or nothing can be written there."""
    path = (folder / ".run.lock").absolute()
    with _opened(path) as handle:
        _take(handle, folder)
        _held.append(handle)
        os.environ[VARIABLE] = str(path)
        try:
            yield
        finally:
            del os.environ[VARIABLE]
            let_go()


def let_go() -> None:
    """End all steps of the run, now."""
    while _held:
        fcntl.flock(_held.pop(), fcntl.LOCK_UN)


def die_with_run() -> None:
    """From now on this process ends with the run that it is a step of; nothing happens where it is no such step."""
    path = os.environ.get(VARIABLE)
    if path:
        threading.Thread(target=_wait_and_die, args=(path,), daemon=True).start()


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, the process `parent` (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was asked
            os._exit(_STOPPED)


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w")
    except OSError as error:
        if is_full(error):
            raise
        raise InputError(f"{path.parent}: cannot be written to ({error.strerror}); give another --out.") from None


def _take(handle: IO[str], folder: Path) -> None:
    # The steps of a run that was just killed may hold the lock for a moment, on their way out.
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise InputError(f"{folder}: another run is at work here; wait, or give another --out.") from None
            time.sleep(0.05)


def _wait_and_die(path: str) -> None:
    with open(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        os._exit(_STOPPED)
