"""The outbox, in front of a server that takes, refuses, is away or is cut off as told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking import Outbox, Record, Refused, Unavailable

Records = Callable[..., Record]
AWAY = Unavailable("MLflow does not answer.", answered=False)
FAULT = Unavailable("MLflow has a fault.", answered=True)


class Server:
    """Stands in for `Runs`."""

    def __init__(self, *faults: BaseException | None) -> None:
        self.faults = list(faults)
        self.taken: list[str] = []
        self.files: dict[str, bytes] = {}

    def write(self, record: Record, files: list[Path]) -> str:
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        self.taken.append(record.key)
        self.files |= {path.name: path.read_bytes() for path in files}
        return f"run of {record.key}"


def send(outbox: Outbox, server: Server) -> Any:
    return outbox.send(server)  # type: ignore[arg-type]


def test_what_a_dead_server_does_not_take_is_sent_once_when_it_is_back(
    outbox: Outbox, record: Records, tmp_path: Path
) -> None:
    (tmp_path / "card.json").write_text("{}")
    outbox.put(record("first"), [tmp_path / "card.json"])
    outbox.put(record("second", time_ms=3_000))
    dead = Server(AWAY)
    sent = send(outbox, dead)
    assert (sent.away, sent.run_ids, outbox.waiting(), len(dead.faults)) == (AWAY, {}, 2, 0), "one try is enough"
    (tmp_path / "card.json").write_text("made anew meanwhile")
    alive = Server()
    assert send(outbox, alive).run_ids == {"first": "run of first", "second": "run of second"}
    assert send(outbox, alive).run_ids == {}
    assert (alive.taken, alive.files, outbox.waiting()) == (["first", "second"], {"card.json": b"{}"}, 0)


def test_the_oldest_goes_first_and_the_end_last(outbox: Outbox, record: Records) -> None:
    outbox.put(record("end", kind="end", time_ms=3_000))
    outbox.put(record("second", time_ms=3_000))
    outbox.put(record("first", time_ms=2_000))
    server = Server()
    send(outbox, server)
    assert server.taken == ["first", "second", "end"]


def test_a_record_that_waits_is_not_replaced_by_a_later_one_of_its_key(outbox: Outbox, record: Records) -> None:
    outbox.put(record(metrics={"wall_s": 3600.0}))
    before = next(outbox.folder.glob("pending/*/record.json")).read_text()
    outbox.put(record(metrics={"wall_s": 1.0}, time_ms=9_000))
    assert [path.read_text() for path in outbox.folder.glob("pending/*/record.json")] == [before]


def test_a_record_that_the_server_cannot_take_does_not_hold_up_the_others(outbox: Outbox, record: Records) -> None:
    outbox.put(record("one", time_ms=1))
    outbox.put(record("two", time_ms=2))
    sent = send(outbox, Server(FAULT))
    assert (sent.away, sent.run_ids, outbox.waiting()) == (FAULT, {"two": "run of two"}, 1)


def test_a_refused_record_is_set_aside_with_the_reason_until_it_is_made_again(outbox: Outbox, record: Records) -> None:
    outbox.put(record("bad"))
    outbox.put(record("good", time_ms=3_000))
    sent = send(outbox, Server(Refused("MLflow refused it: a bad name.")))
    assert sent.run_ids == {"good": "run of good"}
    (sentence,) = sent.refused
    assert "a bad name" in sentence and str(outbox.folder / "refused") in sentence
    (why,) = outbox.folder.glob("refused/*/why.txt")
    assert why.read_text() == "MLflow refused it: a bad name.\n"
    assert outbox.waiting() == 0
    outbox.put(record("bad"))
    assert send(outbox, Server()).run_ids == {"bad": "run of bad"}
    assert list(outbox.folder.glob("refused/*")) == []


def test_a_wrong_password_is_told_and_nothing_is_lost(outbox: Outbox, record: Records) -> None:
    outbox.put(record())
    with pytest.raises(InputError, match="password"):
        send(outbox, Server(InputError("wrong password.")))
    assert outbox.waiting() == 1


def test_a_broken_record_is_set_aside(outbox: Outbox, record: Records) -> None:
    outbox.put(record("broken"))
    next(outbox.folder.glob("pending/*/record.json")).write_text("{")
    outbox.put(record("whole"))
    sent = send(outbox, Server())
    assert sent.run_ids == {"whole": "run of whole"}
    assert "cannot be read" in sent.refused[0]


def test_a_put_that_fails_leaves_nothing(outbox: Outbox, record: Records, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        outbox.put(record(), [tmp_path / "missing.json"])
    assert outbox.waiting() == 0
    assert list(outbox.folder.glob("pending/*")) == []


PUTS = """
import json, os, signal, sys
from pathlib import Path
from deepperception.tracking import Outbox, Pipeline, Record, outbox
original = os.rename
def dying(*arguments):
    if sys.argv[3] == "after":
        original(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
content = json.loads(sys.argv[2])
record = Record(**{**content, "pipeline": Pipeline(**content["pipeline"])})
os.rename = dying
Outbox(Path(sys.argv[1])).put(record)
"""


@pytest.mark.parametrize(("moment", "waiting"), [("before", 0), ("after", 1)])
def test_a_kill_leaves_a_whole_record_or_none(tmp_path: Path, record: Records, moment: str, waiting: int) -> None:
    from dataclasses import asdict

    command = [sys.executable, "-c", PUTS, str(tmp_path), json.dumps(asdict(record("killed"))), moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    outbox, server = Outbox(tmp_path), Server()
    assert outbox.waiting() == waiting
    outbox.put(record("killed"))
    send(outbox, server)
    assert (server.taken, os.listdir(tmp_path / "tracking" / "pending")) == (["killed"], [])


def test_a_kill_after_the_server_took_it_sends_it_again_under_the_same_key(outbox: Outbox, record: Records) -> None:
    """What the server does with the second one is in test_runs."""
    outbox.put(record("taken"))
    server = Server()

    def dying(*arguments: Any) -> str:
        Server.write(server, *arguments)
        raise KeyboardInterrupt

    server.write = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        send(outbox, server)
    del server.write
    send(outbox, server)
    assert server.taken == ["taken", "taken"]


def test_only_infrastructure_is_survived(outbox: Outbox, record: Records) -> None:
    outbox.put(record())
    with pytest.raises(ZeroDivisionError):
        send(outbox, Server(ZeroDivisionError()))
    assert issubclass(Unavailable, InfrastructureError) and outbox.waiting() == 1
