"""Opening the records: a database is made whole or not at all, MLflow stays quiet, and faults are one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking import MODEL, Record, Tracker

DIGEST = "sha256:" + "a" * 64


def test_an_existing_database_is_opened_as_it_is(database: Tracker) -> None:
    number = database.register(MODEL, "file:///store/a", DIGEST, None, {})
    again = Tracker(database.uri, "tests")
    assert [version.number for version in again.versions(MODEL)] == [number]
    assert again.runs.experiment_id == database.runs.experiment_id


def test_a_database_whose_making_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db.tmp").write_bytes(b"SQLite format 3\0 and no more")
    (tmp_path / "mlflow.db.tmp-journal").write_bytes(b"a journal of what was never finished")
    Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "tests")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_a_database_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none/mlflow\.db: there is no such database; .* --out"):
        Tracker(f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}", "tests", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but longer than a header of one" * 100)
    with pytest.raises(InfrastructureError, match="not a database"):
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "tests")


@pytest.mark.parametrize("uri", ["postgresql://somewhere", "http://", "mlflow.db"])
def test_a_uri_that_is_not_understood_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="sqlite:///PATH"):
        Tracker(uri, "tests")


def test_it_is_quiet_and_sends_nothing(tmp_path: Path) -> None:
    """In a process of its own: telemetry and logging are decided when MLflow is first imported."""
    code = f"""
import logging
from deepperception.tracking import Tracker
Tracker("sqlite:///{tmp_path / "mlflow.db"}", "tests")
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled() and get_telemetry_client() is None
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_full_disk_is_the_users_to_mend(
    database: Tracker, record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    def full(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", None, Exception("database or disk is full"))

    monkeypatch.setattr(database._client, "log_batch", full)
    with pytest.raises(InputError, match=r"MLflow failed \(write\): the disk is full; free some space"):
        database.runs.write(record(), [])
