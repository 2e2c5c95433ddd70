"""Writing files whole, and recognising a full disk in whatever it is wrapped."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from deepperception.artifacts.disk import is_full, replacing, reporting_full_disk, write_text
from deepperception.errors import InputError


def wrapped(error: Exception, *, explicitly: bool) -> Exception:
    try:
        try:
            raise error
        except Exception as inner:
            if explicitly:
                raise ValueError("could not save") from inner
            raise ValueError("could not save")  # noqa: B904 - the implicit context is what is tested
    except ValueError as outer:
        return outer


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "full", "why"),
    [
        (FULL, True, "the system's own"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True, "full for this user"),
        (wrapped(FULL, explicitly=True), True, "raise ... from"),
        (wrapped(FULL, explicitly=False), True, "raised while handling it"),
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            True,
            "safetensors",
        ),
        (Exception("(sqlite3.OperationalError) database or disk is full"), True, "sqlite through sqlalchemy"),
        (OSError(errno.EACCES, "Permission denied"), False, "another fault of the disk"),
        (ValueError("the bar is full"), False, "only the word"),
        (None, False, "no error"),
    ],
)
def test_a_full_disk_is_recognised(error: Exception | None, full: bool, why: str) -> None:
    assert is_full(error) is full, why


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), reporting_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_the_sentence_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, reporting_full_disk(tmp_path / "out"):
        raise FULL
    assert (
        str(caught.value)
        == f"{tmp_path / 'out'}: the disk is full; free some space and run again, finished stages are kept."
    )


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
