"""The way back on command, and releases that meet each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.promotion.journal import State
from deepperception.promotion.rollout import go_back, objects, way_back

if TYPE_CHECKING:
    from tests.platform.release.conftest import World

RELEASED = {"champion": 2, "previous": 1, "candidate": None}
BACK = {"champion": 1, "previous": None, "candidate": None}


@contextmanager
def in_background(action: Callable[[], object]) -> Iterator[list[Any]]:
    """Runs beside the block; afterwards the list holds what it gave or raised."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(action())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ended
    finally:
        thread.join()


def wait_for(world: World, state: State) -> None:
    deadline = time.monotonic() + 30
    while world.record is None or world.record.state is not state:
        assert time.monotonic() < deadline, f"never {state.value}"
        time.sleep(0.02)


@pytest.fixture
def released(serving: World) -> World:
    with serving.traffic():
        serving.roll_out()
    return serving


def test_the_version_before_comes_back_without_a_failed_request(released: World) -> None:
    with released.traffic() as traffic:
        released.roll_back()
        asked = traffic.statuses.total()
        while traffic.statuses.total() < asked + 20:
            time.sleep(0.01)
    assert traffic.failed == 0, traffic.statuses
    assert released.serving() == {1: 100}
    assert released.aliases() == BACK
    spec = released.api.written[-1]
    assert spec["predictor"] == released.api.written[0]["predictor"], "as it was before, in every field"
    with_both = [
        100 - sum(entry["trafficPercent"] for entry in each.get("canary", [])) for each in released.api.written[6:]
    ]
    assert with_both == [100, 100], "one step: beside the served version without requests, then with all of them"


def test_there_is_one_step_back(released: World) -> None:
    released.roll_back()
    with pytest.raises(InputError, match="no version before 1 to go back to"):
        released.roll_back()
    assert released.serving() == {1: 100}


def test_with_nothing_served_there_is_nothing_to_take_back(world: World) -> None:
    world.tracker.set_alias("deepperception", "previous", 2)
    with pytest.raises(InputError, match="deepperception-serving/deepperception: nothing is served there"):
        world.roll_back()


def test_what_was_taken_back_does_not_come_again_by_itself(released: World) -> None:
    released.roll_back()
    with pytest.raises(GateRefused, match=r"version 2 was rolled back before \(taken back by command\).*--again"):
        released.roll_out()


def test_a_standby_comes_back_without_being_started(serving: World) -> None:
    serving.target = replace(serving.target, standby=True)
    with serving.traffic() as traffic:
        serving.roll_out()
        assert serving.api.written[-1]["canary"][0]["trafficPercent"] == 0
        serving.roll_back()
    assert traffic.failed == 0
    assert serving.serving() == {1: 100}
    assert serving.aliases() == BACK
    assert serving.starts(serving.champion) == 1


def test_a_version_that_cannot_come_back_leaves_the_other_serving(released: World) -> None:
    released.behave(released.champion, crashes=True)
    with pytest.raises(InfrastructureError, match=r"version 1 cannot be brought back .*version 2 goes on serving"):
        released.roll_back()
    assert released.serving() == {2: 100}
    assert released.aliases() == RELEASED
    (broken,) = (each for each in released.revisions.revisions.values() if released.champion.digest[7:] in each.uri)
    broken.behaviour = {}
    released.roll_back()
    assert released.serving() == {1: 100}
    assert released.aliases() == BACK


def test_a_rollback_ends_a_release_that_is_under_way(serving: World) -> None:
    with in_background(serving.roll_out) as ended:  # nobody asks, so it waits at its first step
        wait_for(serving, State.CANARY)
        assert serving.roll_back().state is State.ROLLED_BACK
    (error,) = ended
    assert isinstance(error, InfrastructureError) and "was taken over by" in str(error), error
    assert serving.serving() == {1: 100}
    assert serving.aliases() == BACK
    assert serving.record is not None and serving.record.reason == "taken back by command"


def test_another_release_is_refused_while_one_is_under_way(serving: World) -> None:
    other = replace(serving.candidate, number=3, digest=f"sha256:{'3' * 64}")
    with in_background(serving.roll_out) as ended:
        wait_for(serving, State.CANARY)
        with pytest.raises(InfrastructureError, match=r"a release of version 2 is under way .canary, by .*rollback"):
            serving.roll_out(other, key="another release")
        with serving.traffic():
            while not ended:
                time.sleep(0.05)
    assert ended[0].state is State.RELEASED
    assert serving.serving() == {2: 100}


def test_the_same_release_twice_at_once_is_one(serving: World) -> None:
    with (
        serving.traffic() as traffic,
        in_background(serving.roll_out) as first,
        in_background(serving.roll_out) as second,
    ):
        pass
    assert [record.state for record in (*first, *second)] == [State.RELEASED] * 2, (first, second)
    assert serving.starts(serving.candidate) == 1
    assert traffic.failed == 0


def test_a_trial_of_the_way_back_shows_what_is_written(released: World) -> None:
    release = released.release()
    before = len(released.api.written)
    shown = [content["spec"] for _, content in objects(release, way_back(release, released.record), ())]
    assert len(released.api.written) == before
    go_back(release)
    assert released.api.written[before:] == shown
