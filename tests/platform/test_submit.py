"""Handing the pipeline over."""

from __future__ import annotations

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra import Infra
from deepperception.platform.submit import package, start
from deepperception.recipe import Recipe


@pytest.fixture
def cluster(infra: Infra) -> Infra:
    return infra.model_copy(update={"runner": "kubeflow"})


def test_an_endpoint_that_does_not_answer_is_told_in_one_sentence(recipe: Recipe, cluster: Infra) -> None:
    with pytest.raises(InfrastructureError, match=r"^http://127\.0\.0\.1:9: the pipeline could not be started") as told:
        start(recipe, cluster, "http://127.0.0.1:9")
    assert "\n" not in str(told.value)


def test_without_an_endpoint_nothing_is_started(recipe: Recipe, cluster: Infra) -> None:
    with pytest.raises(InputError, match="give --endpoint URL"):
        start(recipe, cluster, None)


@pytest.mark.parametrize("runner", ["local", "docker"])
def test_what_is_for_this_machine_is_sent_nowhere_and_can_be_looked_at(
    recipe: Recipe, infra: Infra, runner: str
) -> None:
    here = infra.model_copy(update={"runner": runner})
    with pytest.raises(InputError, match=f"^runner: '{runner}' is not for a cluster"):
        start(recipe, here, "http://127.0.0.1:9")
    assert "run: tests-0" in package(recipe, here)
