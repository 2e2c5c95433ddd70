"""Killed anywhere, a release is run again and ends the same."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from services import release_process

from deepperception.promotion.journal import State

if TYPE_CHECKING:
    from tests.platform.release.conftest import World

MANY = 60
LAST = 15
"""The side effect that ends a release: the record says so. The one before it is the champion's alias."""
IMPORTED = ["services.release_process", "kubernetes.client", "mlflow.tracking", "deepperception.tracking.tracker"]


@pytest.fixture(scope="module")
def processes() -> Any:
    """Each a process of its own; one that has everything imported stands behind them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


@pytest.fixture(autouse=True)
def impatient(serving: World) -> None:
    """What was killed is soon taken for dead."""
    serving.target = replace(serving.target, lease_s=0.6)


def run(processes: Any, task: release_process.Task, told: Path) -> str | None:
    """What the process said at its end; None where it was killed."""
    told.unlink(missing_ok=True)
    process = processes.Process(target=release_process.perform, args=(task, told))
    process.start()
    process.join()
    if process.exitcode == -signal.SIGKILL:
        assert not told.exists()
        return None
    assert process.exitcode == 0
    return told.read_text()


def through_kills(world: World, processes: Any, tmp_path: Path, **task: Any) -> tuple[str, int]:
    """Every process gets one side effect further than the last, and is killed right after it: (end, kills)."""
    for kills in range(MANY):
        ended = run(processes, world.task(kill=(1, "after"), **task), tmp_path / "told")
        if ended is not None:
            return ended, kills
    raise AssertionError("it never comes to an end")


def test_killed_after_every_step_it_is_released(serving: World, processes: Any, tmp_path: Path) -> None:
    with serving.traffic(clients=1) as traffic:
        ended, kills = through_kills(serving, processes, tmp_path)
    assert ended == "released"
    assert serving.serving() == {2: 100}
    assert serving.aliases() == {"champion": 2, "previous": 1, "candidate": None}
    assert traffic.failed == 0, traffic.statuses
    assert (serving.starts(serving.champion), serving.starts(serving.candidate)) == (1, 1)
    # 7 states, 5 changes of what is served, 3 aliases; the last of them ends the process that does it.
    assert kills >= 14


def test_killed_after_every_step_a_bad_candidate_is_taken_back(serving: World, processes: Any, tmp_path: Path) -> None:
    serving.behave(serving.candidate, answer="nothing")
    serving.config = serving.config.model_copy(update={"golden_share": 0.0})
    with serving.traffic(clients=1) as traffic:
        ended, kills = through_kills(serving, processes, tmp_path)
    assert ended.startswith("GateRefused: version 2 was rolled back")
    assert "finds a box in 0%" in ended
    assert serving.serving() == {1: 100}
    assert serving.aliases() == {"champion": 1, "previous": None, "candidate": None}
    assert traffic.failed == 0, traffic.statuses
    assert kills >= 7


def test_killed_after_every_step_the_version_before_comes_back(serving: World, processes: Any, tmp_path: Path) -> None:
    with serving.traffic(clients=1) as traffic:
        serving.roll_out()
        kills, ended = 0, None
        while serving.record is None or serving.record.state is not State.ROLLED_BACK:
            ended = run(processes, serving.task(back=True, kill=(1, "after")), tmp_path / "told")
            kills += ended is None
            assert kills < MANY
    assert ended in (None, "rolled back")
    assert serving.serving() == {1: 100}
    assert serving.aliases() == {"champion": 1, "previous": None, "candidate": None}
    assert traffic.failed == 0, traffic.statuses
    assert kills >= 5


@pytest.mark.e2e
@pytest.mark.parametrize("number", range(1, LAST + 1))
def test_killed_before_a_step_it_ends_the_same(serving: World, processes: Any, tmp_path: Path, number: int) -> None:
    with serving.traffic(clients=1) as traffic:
        assert run(processes, serving.task(kill=(number, "before")), tmp_path / "told") is None
        assert serving.aliases()["champion"] == (1 if number < LAST else 2), "its alias moves last"
        assert run(processes, serving.task(), tmp_path / "told") == "released"
    assert serving.serving() == {2: 100}
    assert serving.aliases() == {"champion": 2, "previous": 1, "candidate": None}
    assert traffic.failed == 0, traffic.statuses
