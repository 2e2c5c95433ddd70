"""A stand-in of Kubernetes' API, and launchers of TrainJobs that ask it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from services import trainer_stand_in
from services.trainjob_launcher import GOLDEN, SCHEMA, Launcher

from deepperception.infra import Infra
from deepperception.recipe import Recipe, load_recipe


@pytest.fixture
def schema() -> dict[str, Any] | None:
    """Trainer's own, strict; None where it is not at hand."""
    return json.loads(SCHEMA.read_text(encoding="utf-8")) if SCHEMA.is_file() else None


@pytest.fixture
def api(schema: dict[str, Any] | None) -> Iterator[Any]:
    """The stand-in, its address in `url`. What was posted fits the schema, where there is one."""
    stand_in = trainer_stand_in.StandIn(schema)
    with trainer_stand_in.served(stand_in) as url:
        stand_in.url = url  # type: ignore[attr-defined]
        yield stand_in
    assert stand_in.violations == []


@pytest.fixture
def two_nodes(tmp_path: Path) -> Infra:
    """The golden infra file with two nodes, on this machine's disk."""
    content = yaml.safe_load((GOLDEN / "nodes" / "infra.yaml").read_text(encoding="utf-8"))
    content |= {"work_dir": str(tmp_path / "work"), "store": str(tmp_path / "store"), "s3": None}
    content["tracking_uri"] = f"sqlite:///{tmp_path}/mlflow.db"
    return Infra.model_validate(content)


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("bestiary", seed=7)


@pytest.fixture
def launcher(api: Any, recipe: Recipe, two_nodes: Infra) -> Callable[..., Launcher]:
    """Makes one that is not started yet."""

    def make(infra: Infra | None = None, stage: str = "cot_sft") -> Launcher:
        return Launcher(api, recipe, infra or two_nodes, stage)

    return make
