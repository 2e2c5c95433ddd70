"""Replies on their way: on the disk as they come, so that a run that is killed asks nothing twice.

A file of rows {"question_id", "replies", "description", "fault"} for each shard, in a folder beside the evaluation.
While a shard is being asked its file is called `.part`; it gets its name when the last case has its reply.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepperception.artifacts.disk import sync, write_text
from deepperception.errors import InputError
from deepperception.evaluation.replies import Answer, plain, text_in
from deepperception.evaluation.shards import Shard

_SYNC_EVERY_S = 2.0
_PART = ".part"


@dataclasses.dataclass(frozen=True)
class Journals:
    """The files of one evaluation: `folder` is theirs, `key` the digest of all that decides the replies."""

    folder: Path
    key: str

    def path(self, shard: Shard) -> Path:
        """Where the shard's replies are once there are all of them."""
        return self.folder / f"{shard.number}-of-{shard.of}-{self.key}.jsonl"

    def missing(self, of: int) -> list[int]:
        """Numbers of the shards that are not finished."""
        return [number for number in range(of) if not self.path(Shard(number, of)).is_file()]

    def note_backend(self, shard: Shard, backend: Mapping[str, Any]) -> None:
        """Remember what makes the shard's replies; InputError where others were made otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._refuse_unlike([*self._noted(), dict(backend)])
        write_text(self._backend(shard), json.dumps(dict(backend)) + "\n")

    def backend(self) -> dict[str, Any]:
        """What was noted; empty where nothing was. InputError where shards do not agree on it."""
        noted = self._noted()
        self._refuse_unlike(noted)
        return noted[0] if noted else {}

    def _noted(self) -> list[dict[str, Any]]:
        paths = sorted(self.folder.glob(f"{self.key}-*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]

    def _refuse_unlike(self, backends: Sequence[dict[str, Any]]) -> None:
        for other in backends[1:]:
            if other != backends[0]:
                raise InputError(
                    f"{self.folder}: some of the questions were answered by {backends[0]} and others would be by "
                    f"{other}; ask all of them alike, or remove the folder to begin anew."
                )

    def _backend(self, shard: Shard) -> Path:
        return self.folder / f"{self.key}-{shard.number}-of-{shard.of}.json"

    @contextmanager
    def opened(self, shard: Shard) -> Iterator[Journal]:
        """The shard's own, to go on with; finished if nothing raises."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(shard)
        part = path.with_name(path.name + _PART)
        journal = Journal(part)
        try:
            yield journal
        finally:
            journal.close()
        os.replace(part, path)
        sync(self.folder)


class Journal:
    """Appends replies to a file. What a killed run left of its last line is cut off."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        self.answered = self._take_up()
        """question_ids that have their reply."""
        self._synced = time.monotonic()

    def add(self, question_id: str, answer: Answer) -> None:
        """Outlives this process when it returns, and a power cut two seconds later."""
        row = {"question_id": question_id, **dataclasses.asdict(answer)}
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        if time.monotonic() - self._synced > _SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def close(self) -> None:
        """All of it is on the disk afterwards."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _take_up(self) -> set[str]:
        self._file.seek(0)
        answered: set[str] = set()
        whole = 0
        for line in self._file:
            try:
                content = json.loads(line)
                read_row(content)
                question_id = text_in(content, "question_id")
            except (ValueError, TypeError, AttributeError):
                break
            if not line.endswith(b"\n"):
                break
            answered.add(question_id)
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(whole)
        return answered


def read_row(content: dict[str, Any]) -> Answer:
    """What `add` wrote; ValueError for anything else."""
    replies = content.get("replies")
    if not isinstance(replies, list) or not all(isinstance(reply, str) for reply in replies):
        raise ValueError("'replies' is no list of texts")
    return Answer(tuple(map(plain, replies)), content.get("description"), content.get("fault"))
