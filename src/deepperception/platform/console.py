"""What a person sees of a run: the stages' own lines, out of all that KFP and the libraries print."""

from __future__ import annotations

import contextlib
import io
import time
from collections import deque
from typing import TextIO

MARK = "» "
"""Begins the lines that a stage's progress writes; the rest of a step's output is for the log."""
_REMEMBERED = 100  # a traceback or two, and what KFP adds


class MarkedLines(io.StringIO):
    """A stream for Progress: marks every line and passes it on."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            # One write a line: two processes may share the stream.
            self._stream.write(f"{MARK}{line}\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


class Screen(io.StringIO):
    """Stands in for standard output while KFP runs: everything goes to the log, marked lines also to the person."""

    def __init__(self, log: TextIO, person: TextIO) -> None:
        super().__init__()
        self._log, self._person, self._line = log, person, ""
        self._started = time.monotonic()
        self.last_lines: deque[str] = deque(maxlen=_REMEMBERED)
        """Marked or not; in memory, for a disk may be full."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):  # a full disk is told by the stage that needs it
            self._log.write(text)
        *lines, self._line = (self._line + text).split("\n")
        self.last_lines.extend(lines)
        for line in lines:
            if line.lstrip().startswith(MARK):
                self.flush()
                self.say(line.lstrip().removeprefix(MARK))
        return len(text)

    def say(self, line: str) -> None:
        """One line for the person, with the time since the run began."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"{minutes:2}:{seconds:02} {line}", file=self._person, flush=True)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._log.flush()
