"""The registry, on a database file and on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking import Record, Tracker

DIGEST = "sha256:" + "a" * 64


def test_a_digest_is_registered_once(tracker: Tracker) -> None:
    first = tracker.register("once", "file:///store/a", DIGEST, None, {"stage": "base"})
    again = tracker.register("once", "file:///elsewhere/a", DIGEST, None, {"stage": "base", "gate": "passed"})
    other = tracker.register("once", "s3://models/store/b", "sha256:" + "b" * 64, None, {})
    assert (first, again, other) == (1, 1, 2)
    oldest, newest = tracker.versions("once")
    assert (oldest.uri, oldest.digest, oldest.tags["gate"]) == ("file:///store/a", DIGEST, "passed")
    assert (newest.number, newest.uri, newest.run_id) == (2, "s3://models/store/b", None)


def test_a_version_says_where_it_comes_from(tracker: Tracker, record: Callable[..., Record]) -> None:
    """From the run that made the model, whoever registers it, and whether or not they know that run."""
    digest = "sha256:" + "c" * 64
    origin = {"data": "sha256:d", "recipe_hash": "sha256:r", "release": "0.1.0", "commit": "abc", "image": "i@sha256:i"}
    run_id = tracker.runs.write(record(tags={"digest": digest, "kind": "model", **origin}), [])
    for given in (None, run_id, None):
        tracker.register("origin", "s3://models/store/c", digest, given, {"arm": "sft"})
    (version,) = tracker.versions("origin")
    assert version.run_id == run_id
    assert {key: version.tags[key] for key in origin} == origin
    assert "kind" not in version.tags


def test_a_request_that_arrived_twice_leaves_one_version(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    original = tracker._client.create_model_version

    def twice(*arguments: Any, **more: Any) -> Any:
        original(*arguments, **more)
        return original(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(tracker._client, "create_model_version", twice)
        assert tracker.register("twice", "s3://models/store/a", DIGEST, None, {}) == 1
    assert [version.number for version in tracker.versions("twice")] == [1]


def test_an_alias_moves_and_goes(tracker: Tracker) -> None:
    for letter in "ab":
        tracker.register("moves", f"file:///store/{letter}", "sha256:" + letter * 64, None, {})
    assert tracker.alias("moves", "champion") is None
    assert tracker.alias("no such model", "champion") is None
    for number in (1, 2, 2):
        tracker.set_alias("moves", "champion", number)
        champion = tracker.alias("moves", "champion")
        assert champion is not None
        assert champion.number == number
    for _ in range(2):
        tracker.delete_alias("moves", "champion")
    assert tracker.alias("moves", "champion") is None


def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPPERCEPTION_TRACKING_PATIENCE_S", "7")
    assert Tracker("http://127.0.0.1:9", "tests").patience_s == 7
    monkeypatch.setenv("DEEPPERCEPTION_TRACKING_PATIENCE_S", "a while")
    with pytest.raises(InputError, match="DEEPPERCEPTION_TRACKING_PATIENCE_S: 'a while'"):
        Tracker("http://127.0.0.1:9", "tests")


def test_what_needs_a_server_that_is_away_fails_in_the_end(unused_port: int) -> None:
    tracker = Tracker(f"http://127.0.0.1:{unused_port}", "tests", patience_s=0)
    with pytest.raises(InfrastructureError, match=r"\(alias: connection refused\)\. .*run again") as told:
        tracker.alias("model", "champion")
    assert told.value.exit_code == 3
    assert "\n" not in str(told.value)
