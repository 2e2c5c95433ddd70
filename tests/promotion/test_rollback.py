"""The way back to the previous version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.promotion import current, rollback, run
from deepperception.promotion.config import PromotionConfig
from deepperception.tracking import MODEL, Version

if TYPE_CHECKING:
    from tests.promotion.conftest import World


def back(world: World) -> Version:
    return rollback(tracker=world.tracker, store=world.store, cluster=world.service, progress=world.context.progress)


@pytest.fixture
def promoted(world: World) -> World:
    run(
        PromotionConfig(),
        world.inputs,
        world.out,
        world.context,
        tracker=world.tracker,
        store=world.store,
        cluster=world.service,
    )
    return world


def test_the_previous_version_is_served_and_champion_again(promoted: World) -> None:
    assert back(promoted).number == 1
    assert promoted.service.served[-1] == b"base"
    assert current(promoted.tracker).number == 1
    assert promoted.tracker.alias(MODEL, "previous") is None


def test_there_is_one_step_back(promoted: World) -> None:
    back(promoted)
    with pytest.raises(InputError, match="no version before 1 to go back to"):
        back(promoted)
    assert current(promoted.tracker).number == 1


def test_without_a_champion_there_is_nothing_to_roll_back(world: World) -> None:
    with pytest.raises(InputError, match="no version of deepperception is champion"):
        back(world)


def test_a_previous_version_that_does_not_load_stays_where_it_is(promoted: World) -> None:
    weights = promoted.store.get(promoted.inputs.base.model) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"damaged")
    with pytest.raises(InfrastructureError, match="damaged"):
        back(promoted)
    assert current(promoted.tracker).number == 2


def test_killed_between_its_two_steps_it_ends_the_same(promoted: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(promoted.tracker, "delete_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            back(promoted)
    assert back(promoted).number == 1
    assert current(promoted.tracker).number == 1
    assert promoted.tracker.alias(MODEL, "previous") is None
