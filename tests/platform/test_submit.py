"""Handing the pipeline over."""

from __future__ import annotations

import pytest

from deepperception.errors import InfrastructureError
from deepperception.infra import Infra
from deepperception.platform.submit import start
from deepperception.recipe import Recipe


def test_an_endpoint_that_does_not_answer_is_told_in_one_sentence(recipe: Recipe, infra: Infra) -> None:
    with pytest.raises(InfrastructureError, match=r"^http://127\.0\.0\.1:9: the pipeline could not be started") as told:
        start(recipe, infra, "http://127.0.0.1:9")
    assert "\n" not in str(told.value)
