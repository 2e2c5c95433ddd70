"""Records on their way to MLflow: each waits in a folder of its own until it is there, and is sent exactly once.

tracking/pending/<place>/     record.json and copies of its files; whole, or not there
tracking/refused/<place>/     what MLflow said no to, with why.txt
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from deepperception.artifacts.disk import discard, locked, reporting_full_disk, sync, write_text
from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking.failures import Unavailable
from deepperception.tracking.record import RECORD, Record, files_of, read_record, write_record
from deepperception.tracking.runs import Runs

FOLDER = "tracking"


@dataclass
class Sent:
    """What became of the records."""

    run_ids: dict[str, str] = field(default_factory=dict)
    """By the record's key."""
    refused: list[str] = field(default_factory=list)
    """A sentence for each record that MLflow said no to."""
    away: Unavailable | None = None
    """Why the rest still waits."""


class Outbox:
    """The records of one work folder; several processes may put and send at the same time."""

    def __init__(self, work_dir: Path) -> None:
        self.folder = work_dir / FOLDER
        self._pending, self._refused = self.folder / "pending", self.folder / "refused"

    def put(self, record: Record, files: Iterable[Path] = ()) -> None:
        """Have the record wait; one that waits already under this key is left as it is. InputError on a full disk."""
        place = self._pending / record.place
        with reporting_full_disk(place), self._changing():
            if place.exists():
                return
            building = place.with_name(f".{place.name}")
            discard(building)  # of a put that was killed
            try:
                write_record(building, record, files)
                _sync_all(building)
                os.rename(building, place)
            except BaseException:
                discard(building)
                raise
            sync(self._pending)

    def waiting(self) -> int:
        """How many records are not sent."""
        return len(self._places())

    def send(self, runs: Runs) -> Sent:
        """Send what waits, the oldest first, as far as the server takes it; InputError where it knows no such user."""
        sent = Sent()
        with locked(self.folder / ".sending.lock", lambda: None):
            for place, record in self._in_order(sent.refused):
                try:
                    sent.run_ids[record.key] = runs.write(record, files_of(place))
                except Unavailable as error:
                    sent.away = error
                    if not error.answered:
                        break
                except InfrastructureError as error:
                    sent.refused.append(self._set_aside(place, record.name, error))
                else:
                    self._remove(place)
        return sent

    def _in_order(self, refused: list[str]) -> list[tuple[Path, Record]]:
        found = []
        for place in self._places():
            try:
                found.append((place, read_record(place)))
            except (OSError, ValueError, TypeError, KeyError) as error:
                refused.append(self._set_aside(place, place.name, InputError(f"{RECORD} cannot be read ({error}).")))
        return sorted(found, key=lambda each: (each[1].time_ms, each[1].kind == "end", each[0].name))

    def _places(self) -> list[Path]:
        if not self._pending.is_dir():
            return []
        return [place for place in self._pending.iterdir() if not place.name.startswith(".")]

    def _set_aside(self, place: Path, name: str, error: Exception) -> str:
        write_text(place / "why.txt", f"{error}\n")
        aside = self._refused / place.name
        with self._changing():
            aside.parent.mkdir(parents=True, exist_ok=True)
            discard(aside)
            os.rename(place, aside)
        return f"the record of {name} is not in MLflow, it is in {aside}: {error}"

    def _remove(self, place: Path) -> None:
        # Under another name first: half a folder must not look like a record.
        gone = place.with_name(f".{place.name}.sent")
        with self._changing():
            discard(gone)
            os.rename(place, gone)
        discard(gone)
        discard(self._refused / place.name)  # an earlier attempt's

    def _changing(self) -> contextlib.AbstractContextManager[None]:
        return locked(self.folder / ".changing.lock", lambda: None)


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
