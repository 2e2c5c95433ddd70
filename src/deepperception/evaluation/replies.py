"""Replies in JSONL files, found by question_id at 21 bytes of memory a row, however long they are."""

from __future__ import annotations

import json
import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from deepperception.errors import InputError

_USUAL_ROW_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back to one question."""

    replies: Sequence[str] = ()
    """The first one is scored as the answer; none at all counts as wrong."""
    description: str | None = None
    """What the model said before, where it was asked for a description first."""
    fault: str | None = None
    """Why there is no reply: a picture that cannot be read."""


Read = Callable[[dict[str, Any]], Answer]
"""A row's content as an answer; ValueError says what is wrong with it."""


class ReplyIndex:
    """Where the reply to each question stands in some files.

    InputError names the first row that is malformed, or that answers a question in another way than an earlier row.
    Rows that repeat an earlier one word for word are counted in `repeated`.
    """

    def __init__(self, paths: Sequence[Path], read: Read) -> None:
        self.paths, self._read = list(paths), read
        self._files = ExitStack()
        self._handles: list[BinaryIO] = []
        self._starts: list[int] = []
        try:
            self._index()
            self.repeated = self._count_repeated()
        except BaseException:
            self.close()
            raise

    def _index(self) -> None:
        hashes, places, rows = array("q"), array("q"), array("I")
        start = 0
        for path in self.paths:
            self._starts.append(start)
            for row, offset, line in self._lines(path):
                question_id, _ = self._parsed(path, row, line)
                hashes.append(hash(question_id))
                places.append(start + offset)
                rows.append(row)
            start += path.stat().st_size
        order = np.argsort(_column(hashes, np.int64), kind="stable")
        self._hashes = _column(hashes, np.int64)[order]
        self._places = _column(places, np.int64)[order]
        self._rows = _column(rows, np.uint32)[order]
        self._used = np.zeros(len(order), np.bool_)

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def bytes_in_memory(self) -> int:
        """Of all rows together."""
        return sum(part.nbytes for part in (self._hashes, self._places, self._rows, self._used))

    def find(self, question_ids: Sequence[str]) -> Iterator[Answer | None]:
        """The answer to each question; None where no row has one."""
        wanted = np.fromiter(map(hash, question_ids), np.int64, len(question_ids))
        firsts, ends = (np.searchsorted(self._hashes, wanted, side).tolist() for side in ("left", "right"))
        for question_id, first, end in zip(question_ids, firsts, ends, strict=True):
            answer = None
            for entry in range(first, end):
                found_id, found = self._at(entry)
                if found_id == question_id:
                    self._used[entry] = True
                    answer = answer or found
            yield answer

    def unused(self, most: int) -> tuple[int, list[tuple[str, str]]]:
        """How many rows no `find` asked for, and (place, question_id) of the first `most` in the files' order."""
        left = np.flatnonzero(~self._used)
        first = sorted(left.tolist(), key=self._places.__getitem__)[:most]
        return len(left), [(self._place(entry), self._at(entry)[0]) for entry in first]

    def close(self) -> None:
        """Closes the files."""
        self._files.close()

    def _count_repeated(self) -> int:
        again = np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1
        repeated, differing = 0, []
        for entry in again.tolist():
            question_id, answer = self._at(entry)
            earlier = entry - 1  # stable sorting left rows of one hash in the files' order
            while earlier >= 0 and self._hashes[earlier] == self._hashes[entry]:
                earlier_id, earlier_answer = self._at(earlier)
                if earlier_id == question_id:
                    repeated += 1
                    if earlier_answer != answer:
                        differing.append((int(self._places[entry]), entry, earlier, question_id))
                    break
                earlier -= 1
        if differing:
            _, entry, earlier, question_id = min(differing)
            raise InputError(
                f"{self._place(entry)}: question_id {question_id!r} was answered otherwise in row "
                f"{self._rows[earlier]} already ({counted([each[3] for each in sorted(differing)])}); "
                "keep one row for each question."
            )
        return repeated

    def _place(self, entry: int) -> str:
        return f"{self.paths[self._number_of(entry)]}, row {self._rows[entry]}"

    def _number_of(self, entry: int) -> int:
        return bisect_right(self._starts, int(self._places[entry])) - 1

    def _at(self, entry: int) -> tuple[str, Answer]:
        number = self._number_of(entry)
        offset = int(self._places[entry]) - self._starts[number]
        size = _USUAL_ROW_BYTES
        while True:
            some = os.pread(self._handles[number].fileno(), size, offset)
            end = some.find(b"\n")
            if end >= 0 or len(some) < size:
                line = some if end < 0 else some[:end]
                return self._parsed(self.paths[number], int(self._rows[entry]), line)
            size *= 4

    def _lines(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        """(row from 1, offset in bytes, line) of all lines that are not blank."""
        try:
            handle = self._files.enter_context(path.open("rb"))
            self._handles.append(handle)
            offset = 0
            # Rows end at a newline only: JSON allows other characters that break lines inside a text.
            for row, line in enumerate(handle, start=1):
                if line.strip():
                    yield row, offset, line
                offset += len(line)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error}); give a JSONL file in UTF-8.") from None

    def _parsed(self, path: Path, row: int, line: bytes) -> tuple[str, Answer]:
        expected = 'expected {"question_id": "...", "text": "..."}'
        try:
            content = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise InputError(f"{path}, row {row}: this is not UTF-8; {expected}.") from None
        except (ValueError, RecursionError):  # Python's reader follows nested brackets only so deep
            raise InputError(f"{path}, row {row}: this is not JSON; {expected}.") from None
        if not isinstance(content, dict):
            raise InputError(f"{path}, row {row}: this is no object; {expected}.")
        try:
            return text_in(content, "question_id"), self._read(content)
        except ValueError as error:
            raise InputError(f"{path}, row {row}: {error}; {expected}.") from None


def _column(values: array[int], kind: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(values, kind) if values else np.empty(0, kind)


def text_in(content: dict[str, Any], key: str) -> str:
    """The text under `key`; ValueError where there is something else, or nothing."""
    value = content.get(key)
    if not isinstance(value, str):
        found = f"is {json.dumps(value)[:60]}" if key in content else "is missing"
        raise ValueError(f"'{key}' {found}")
    return plain(value)


def plain(text: str) -> str:
    """`text` as UTF-8 can hold it: JSON can spell out half a character, which no file takes."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def counted(names: Sequence[str]) -> str:
    """Rows of these ids, in a few words."""
    return "the only such row" if len(names) == 1 else f"{len(names)} such rows: {listed(names, len(names))}"


def listed(names: Sequence[str], total: int, most: int = 5) -> str:
    """The first of `total` names."""
    shown = ", ".join(names[:most])
    return shown if total <= most else f"{shown} and {total - most} more"
