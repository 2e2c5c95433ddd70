"""What is told of the place that serves, and what a rollback and a promotion through the infra file do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.infra_pools import Pool
from deepperception.infra_serving import Serving
from deepperception.platform.release import serving_lines, target_of
from deepperception.platform.upkeep import roll_back
from deepperception.promotion.journal import Journal, Record, Side, State
from deepperception.promotion.rollout import begin

if TYPE_CHECKING:
    from tests.platform.release.conftest import World


def infra(world: World, tmp_path: Path, **place: Any) -> Infra:
    return Infra(
        work_dir=tmp_path,
        store=str(tmp_path / "store"),
        tracking_uri=world.tracker.uri,
        experiment="tests",
        serving=Serving(poll_s=0.02, lease_s=1.0, **place),
        pools={
            "gpu": Pool(cpu="8", memory="64Gi", accelerator="nvidia.com/gpu", count=1, node_selector={"gpu": "yes"})
        },
    )


def test_before_anything_is_served(world: World, tmp_path: Path) -> None:
    assert list(serving_lines(infra(world, tmp_path))) == [
        "deepperception-serving/deepperception: nothing is served yet"
    ]


def test_shares_are_told_while_a_release_is_under_way(serving: World, tmp_path: Path) -> None:
    release = serving.release()
    journal = Journal(serving.cluster, serving.target, release.progress)
    journal.take()
    record = begin(release, serving.candidate, serving.champion, "key", downtime=False).at(State.CANARY, step=10)
    journal.write(record)
    release.journal = journal
    release._apply(record)
    there = "deepperception-serving/deepperception"
    old, new = (version.digest[7:19] for version in (serving.champion, serving.candidate))
    lines = list(serving_lines(infra(serving, tmp_path)))
    assert lines[0] == f"{there}: version 1, sha256:{old}, 90 % of the requests"
    assert lines[1].startswith(f"{there}: version 2, sha256:{new}, 10 % of the requests, ")
    assert lines[2] == f"{there}: release of version 2: canary"


def test_a_rollback_by_the_infra_file(serving: World, tmp_path: Path) -> None:
    with serving.traffic():
        serving.roll_out()
    place = infra(serving, tmp_path)
    trial = roll_back(place, serving.release().progress, dry_run=True)
    assert "# returning\n---\napiVersion: serving.kserve.io/v1beta1" in trial
    assert "# returned\n---\n" in trial
    assert serving.serving() == {2: 100}
    said = roll_back(place, serving.release().progress, dry_run=False)
    assert said == f"champion: version 1 ({serving.champion.digest}), served by deepperception"
    assert serving.serving() == {1: 100}
    assert list(serving_lines(place))[-1].endswith("release of version 2: rolled back (taken back by command)")


def test_the_pool_says_what_a_pod_asks_for(world: World, tmp_path: Path) -> None:
    target = target_of(infra(world, tmp_path, pool="gpu"))
    assert target.resources["requests"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}
    assert target.node_selector == {"gpu": "yes"}
    with pytest.raises(InputError, match="there is no pool 'cpu'; there are: gpu"):
        target_of(infra(world, tmp_path, pool="cpu"))


def test_a_record_survives_the_cluster() -> None:
    side = Side(1, "sha256:a", {"name": "ma"})
    record = Record("key", State.SMOKE, side, side, {"champion": 1, "previous": None}).at(State.CANARY, "fine", step=10)
    assert Record.from_json(record.to_json()) == record
    assert asdict(record)["notes"][-1]["state"] == "canary 10 %"
