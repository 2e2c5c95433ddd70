"""A release on a cluster, step by step, with users who ask all the while."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from deepperception.errors import GateRefused, InfrastructureError, InputError
from deepperception.promotion.journal import State
from deepperception.promotion.rollout import begin, objects
from deepperception.promotion.service import SERVICE

if TYPE_CHECKING:
    from tests.platform.release.conftest import World

AS_BEFORE = {"champion": 1, "previous": None, "candidate": None}


def shares(world: World) -> list[list[tuple[str, int]]]:
    """What each accepted spec serves beside the stable version."""
    return [
        [(entry["predictor"]["name"], entry["trafficPercent"]) for entry in spec.get("canary", [])]
        for spec in world.api.written
    ]


def test_a_full_canary_fails_no_request(serving: World) -> None:
    with serving.traffic() as traffic:
        record = serving.roll_out()
    assert record.state is State.RELEASED
    assert serving.serving() == {2: 100}
    assert serving.aliases() == {"champion": 2, "previous": 1, "candidate": None}
    name = f"m{serving.candidate.digest[7:19]}"
    assert shares(serving) == [[], [(name, 0)], [(name, 10)], [(name, 50)], [(name, 100)], []]
    assert traffic.statuses[200] > 3 * 12
    assert traffic.failed == 0, traffic.statuses
    assert (serving.starts(serving.champion), serving.starts(serving.candidate)) == (1, 1), "nothing was restarted"
    assert [note["state"] for note in record.notes] == [
        *("launched", "smoke", "canary 10 %", "canary 50 %", "canary 100 %", "promoted", "released"),
    ]
    assert "3 of 3 golden pictures right" in record.notes[2]["note"]


def test_where_nothing_is_served_yet_the_champion_is_first(world: World) -> None:
    thread = threading.Thread(target=world.roll_out)
    thread.start()
    while world.ask() != 200:
        assert thread.is_alive()
    with world.traffic() as traffic:
        thread.join()
    assert traffic.failed == 0
    assert world.serving() == {2: 100}
    assert (world.starts(world.champion), world.starts(world.candidate)) == (1, 1)


def test_a_release_does_what_its_role_allows_and_nothing_less(world: World) -> None:
    world.config = world.config.model_copy(
        update={"release": world.config.release.model_copy(update={"quiet": "go on", "step_timeout_s": 0.01})}
    )
    world.roll_out()
    assert world.api.used == {(rule.group, rule.resource, rule.verb) for rule in world.api.rules}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"ready_after_s": 1e9}, "version 2 was not ready after 1 s"),
        ({"crashes": True}, "its server does not run .CrashLoopBackOff: back-off"),
        ({"unschedulable": True}, "no node has room for it .* Insufficient nvidia.com/gpu.*--allow-downtime"),
        ({"answer": "wrong"}, "answers 0 of 3 golden pictures right"),
        ({"failing": 0.5}, "requests failed|no prediction for a golden picture"),
        ({"seconds": 0.3}, r"its 95th percentile is 0.\d+ s where the served version's is 0.0\d s"),
        ({"dies_after": 9}, "crashed|is not ready any more|tells nothing"),
    ],
)
def test_every_fault_ends_with_the_version_before(serving: World, behaviour: dict[str, Any], reason: str) -> None:
    serving.behave(serving.candidate, **behaviour)
    serving.target = replace(serving.target, ready_timeout_s=1.0)
    with serving.traffic() as traffic, pytest.raises(GateRefused, match=f"version 2 was rolled back .*({reason})"):
        serving.roll_out()
    assert serving.serving() == {1: 100}
    assert serving.aliases() == AS_BEFORE
    assert serving.record is not None and serving.record.state is State.ROLLED_BACK
    assert [name for name in serving.revisions.revisions] == [
        f"deepperception-m{serving.champion.digest[7:19]}-predictor"
    ]
    assert serving.starts(serving.champion) == 1
    assert serving.ask() == 200
    failing = behaviour.keys() & {"failing", "dies_after"}
    assert failing or traffic.failed == 0, traffic.statuses


def test_a_canary_that_finds_fewer_boxes_is_taken_back(serving: World) -> None:
    serving.behave(serving.candidate, answer="nothing")
    serving.config = serving.config.model_copy(update={"golden_share": 0.0})
    with serving.traffic() as traffic, pytest.raises(GateRefused, match=r"finds a box in 0% .* served version in 100%"):
        serving.roll_out()
    assert serving.serving() == {1: 100}
    assert traffic.failed == 0


def test_budgets_are_measured_before_users_are_sent_there(serving: World) -> None:
    serving.config = serving.config.model_copy(update={"max_memory_gib": 0.001})
    with pytest.raises(GateRefused, match=r"memory is 0.0\d GiB .* at most 0.001 GiB is allowed"):
        serving.roll_out()
    assert max(percent for spec in shares(serving) for _, percent in spec) == 0


def test_a_canary_that_nobody_asks_is_not_judged(serving: World) -> None:
    quiet = serving.config.release.model_copy(update={"step_timeout_s": 0.1})
    serving.config = serving.config.model_copy(update={"release": quiet})
    with pytest.raises(GateRefused, match="it had 0 requests in 0 s, and 12 are needed to judge it"):
        serving.roll_out()
    assert serving.aliases() == AS_BEFORE


def test_without_room_beside_the_champion_nothing_is_touched(serving: World) -> None:
    serving.api.quotas.append(quota("3"))
    with pytest.raises(InfrastructureError, match=r"quota 'ceiling' .* no room for 1 more nvidia.com/gpu .3 of 3 are"):
        serving.roll_out()
    assert len(serving.api.written) == 1
    serving.api.quotas[0]["status"]["used"]["requests.nvidia.com/gpu"] = "2"
    with serving.traffic():
        assert serving.roll_out().state is State.RELEASED


def test_downtime_is_taken_where_it_is_allowed(serving: World) -> None:
    serving.api.quotas.append(quota("3"))
    assert serving.roll_out(downtime=True).state is State.RELEASED
    assert shares(serving) == [[], []], "no canary"
    assert serving.serving() == {2: 100}
    assert serving.aliases() == {"champion": 2, "previous": 1, "candidate": None}


def test_a_replacement_that_fails_is_replaced_again(serving: World) -> None:
    serving.behave(serving.candidate, answer="wrong")
    with pytest.raises(GateRefused, match="0 of 3 golden pictures"):
        serving.roll_out(downtime=True)
    assert serving.serving() == {1: 100}
    assert serving.aliases() == AS_BEFORE
    assert serving.ask() == 200


def quota(used: str) -> dict[str, Any]:
    status = {"hard": {"requests.nvidia.com/gpu": "3"}, "used": {"requests.nvidia.com/gpu": used}}
    return {"metadata": {"name": "ceiling"}, "spec": {"hard": status["hard"]}, "status": status}


def test_run_again_it_changes_nothing(serving: World) -> None:
    with serving.traffic():
        serving.roll_out()
    written = len(serving.api.written)
    assert serving.roll_out().state is State.RELEASED
    assert len(serving.api.written) == written


def test_what_was_rolled_back_is_released_again_only_if_asked(serving: World) -> None:
    serving.behave(serving.candidate, answer="wrong")
    with pytest.raises(GateRefused, match="was rolled back"):
        serving.roll_out()
    serving.behave(serving.candidate)
    written = len(serving.api.written)
    with pytest.raises(GateRefused, match=r"was rolled back before .*golden.* --again tries it once more"):
        serving.roll_out()
    assert len(serving.api.written) == written
    with serving.traffic():
        assert serving.roll_out(again=True).state is State.RELEASED


def test_what_is_served_must_be_what_the_registry_says(serving: World) -> None:
    content = serving.cluster.read(SERVICE, serving.target.name)
    assert content is not None
    content["spec"]["predictor"]["model"]["storageUri"] = "s3://another/model/"
    serving.cluster.replace(SERVICE, content)
    with pytest.raises(InputError, match=r"it serves s3://another/model, and the registry's champion is version 1"):
        serving.roll_out()


def test_a_canary_of_another_hand_is_left_alone(serving: World) -> None:
    content = serving.cluster.read(SERVICE, serving.target.name)
    assert content is not None
    model = {**content["spec"]["predictor"]["model"], "name": "kserve-container"}
    content["spec"]["canary"] = [
        {"trafficPercent": 5, "predictor": {"name": "theirs", "minReplicas": 1, "model": model}}
    ]
    serving.cluster.replace(SERVICE, content)
    with pytest.raises(InputError, match=r"a canary of another hand \(theirs\)"):
        serving.roll_out()


def test_a_busy_api_and_another_writer_are_borne(serving: World) -> None:
    touched = []

    def meddle(plural: str, content: dict[str, Any]) -> None:
        # KServe writes its status at any time: the version that was read is not the present one any more.
        if plural == "inferenceservices" and len(touched) < 4 and not touched.count(plural) > len(touched):
            touched.append(plural)
            if len(touched) % 2:
                key = ("inferenceservices", serving.target.name)
                there = serving.api.objects[key]
                there["metadata"]["resourceVersion"] = f"{there['metadata']['resourceVersion']}0"

    serving.api.before_write = meddle
    serving.api.broken = 3
    with serving.traffic() as traffic:
        assert serving.roll_out().state is State.RELEASED
    assert traffic.failed == 0
    assert len(touched) == 4


def test_what_a_trial_shows_is_what_is_written(serving: World) -> None:
    release = serving.release()
    record = begin(release, serving.candidate, serving.champion, "key", downtime=False)
    shown = [content["spec"] for _, content in objects(release, record, serving.config.release.steps)]
    assert len(serving.api.written) == 1, "a trial writes nothing"
    with serving.traffic():
        serving.roll_out()
    assert serving.api.written[1:] == shown
