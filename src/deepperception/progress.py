"""Progress that a person can follow: a live bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

LINE_EVERY_S = 5.0
WIDE_CHARACTERS = 200


def show(table: Table) -> None:
    """Print a result on standard output. In a pipe or a file its lines are as long as they need."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDE_CHARACTERS  # for its 80, rich would cut the names
    console.print(table)


class Bar:
    """One piece of counted work."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move on by `steps`; `note` is what is worth seeing now (loss, reward)."""
        raise NotImplementedError


@dataclass
class _LogBar(Bar):
    label: str
    total: int
    stream: TextIO
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    printed: float = field(default_factory=time.monotonic)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.printed >= LINE_EVERY_S or self.done >= self.total:
            self.printed = now
            left_s = (now - self.started) / max(self.done, 1) * max(self.total - self.done, 0)
            line = f"{self.label}: {self.done}/{self.total}, {left_s:.0f} s left {note}".rstrip()
            print(line, file=self.stream, flush=True)


@dataclass
class _LiveBar(Bar):
    live: RichProgress
    label: str
    total: int

    def __post_init__(self) -> None:
        self.task = self.live.add_task(self.label, total=self.total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.live.update(self.task, advance=steps, note=note)


class Progress:
    """Where a stage reports to. `stream` defaults to standard error, so that results keep standard output."""

    def __init__(self, stage: str = "", stream: TextIO | None = None) -> None:
        self.stage = stage
        self.stream = stream or sys.stderr
        self.console = Console(file=self.stream)

    def say(self, line: str) -> None:
        """One line, always shown."""
        print(f"{self.stage}: {line}" if self.stage else line, file=self.stream, flush=True)

    @contextmanager
    def track(self, total: int, label: str) -> Iterator[Bar]:
        """A bar over `total` steps of work."""
        label = f"{self.stage}: {label}" if self.stage else label
        if not self.console.is_terminal:
            yield _LogBar(label, total, self.stream)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self.console) as live:
            yield _LiveBar(live, label, total)
