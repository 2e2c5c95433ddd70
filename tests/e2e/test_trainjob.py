"""A stage on two nodes, from the pipeline's step to its result; only Kubernetes is played (`make e2e`)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from services import trainer_stand_in
from services.trainer_nodes import Nodes
from services.trainjob_launcher import GOLDEN, Launcher

from deepperception.artifacts import open_store
from deepperception.artifacts.manifest import read_manifest, verify
from deepperception.artifacts.store import Ref
from deepperception.errors import InputError, Preempted
from deepperception.infra import Infra
from deepperception.platform import stages
from deepperception.platform.trainjob.api import KubernetesApi
from deepperception.recipe import Recipe, load_recipe
from deepperception.tracking import Tracker

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SMALL = ("sft.max_steps=3", "sft.batch_size=2", "grpo.max_steps=1", "grpo.difficulty=null", "grpo.prompts_per_step=4",
         "grpo.group_size=2", "grpo.max_completion_length=8")  # fmt: skip


@pytest.fixture
def api() -> Iterator[Any]:
    stand_in = trainer_stand_in.StandIn()
    with trainer_stand_in.served(stand_in) as url:
        stand_in.url = url  # type: ignore[attr-defined]
        yield stand_in


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("bestiary", SMALL, seed=7)


@pytest.fixture
def infra(tmp_path: Path) -> Infra:
    """Two nodes without GPUs."""
    content = yaml.safe_load((GOLDEN / "nodes" / "infra.yaml").read_text(encoding="utf-8"))
    content |= {"work_dir": str(tmp_path / "work"), "store": str(tmp_path / "store"), "s3": None}
    content["tracking_uri"] = f"sqlite:///{tmp_path}/mlflow.db"
    content["stages"] = {stage: {"pool": "cpu", "on_cpu": True, "nodes": 2} for stage in ("sft", "grpo")}
    return Infra.model_validate(content)


@pytest.fixture
def inputs(infra: Infra, random_checkpoint: Path, creature_rows: Path) -> dict[str, dict[str, Any]]:
    store = open_store(infra.store)
    kept = {"model": store.put(random_checkpoint), "data": store.put(creature_rows)}
    return {name: {"uri": ref.uri, "digest": ref.digest, "run_id": ""} for name, ref in kept.items()}


class Step(Launcher):
    """The whole step, as the pipeline calls it; the job's nodes are of this machine."""

    def __init__(self, api: Any, recipe: Recipe, infra: Infra, stage: str, inputs: dict[str, Any]) -> None:
        super().__init__(api, recipe, infra, stage)
        self._call = (stage, recipe.to_json(), infra.to_json(), recipe.seed, inputs)
        self._thread = threading.Thread(target=self._execute, daemon=True)

    def _execute(self) -> None:
        try:
            self.outputs = stages.execute(*self._call)
        except BaseException as error:
            self.error = error


@pytest.fixture
def step(
    api: Any,
    recipe: Recipe,
    infra: Infra,
    inputs: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Any:
    monkeypatch.setenv("DEEPPERCEPTION_RUN", "flow-1")

    def make(stage: str) -> Step:
        made = Step(api, recipe, infra, stage, inputs)
        monkeypatch.setattr(KubernetesApi, "of_this_pod", lambda _: made.cluster)
        return made

    return make


@pytest.mark.parametrize("stage", ["cot_sft", "grpo"])
def test_two_nodes_make_one_model(
    step: Any, infra: Infra, api: Any, capfd: pytest.CaptureFixture[str], stage: str
) -> None:
    one = step(stage).start()
    one.job()
    assert Nodes(api, one.name).end() == [0, 0], api.logs
    output = one.finish()["policy"]
    metadata = output["metadata"]

    manifest = verify(infra.work_dir / stage)
    assert (manifest.digest, manifest.inputs["ranks"]) == (metadata["digest"], "2")
    kept = open_store(infra.store).get(Ref(metadata["uri"], metadata["digest"]))
    assert read_manifest(kept) == manifest
    tracker = Tracker(infra.tracking_uri, infra.experiment)
    run = tracker._client.get_run(metadata["run_id"])
    assert run.data.tags["digest"] == manifest.digest
    logged = [file.path for file in tracker._client.list_artifacts(metadata["run_id"])]
    assert "trainjob.yaml" in logged
    (beside,) = output["beside"]
    assert yaml.safe_load(Path(beside).read_text())["metadata"]["name"] == one.name
    shown = capfd.readouterr().err
    assert shown.count("2 processes are together") == 1
    assert f"{stage}: step" in shown


def test_a_fault_of_the_data_is_told_as_on_one_node(
    step: Any, infra: Infra, api: Any, inputs: dict[str, Any], creature_rows: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from deepperception.artifacts.datasets import read_rows, write_rows

    rows = list(read_rows(creature_rows / "sft.parquet"))
    write_rows(tmp_path / "bad" / "sft.parquet", [rows[0], replace(rows[1], reasoning=None)])
    bad = open_store(infra.store).put(tmp_path / "bad")
    inputs["data"] = {"uri": bad.uri, "digest": bad.digest, "run_id": ""}
    one = step("cot_sft").start()
    one.job()
    assert all(Nodes(api, one.name).end())
    error = one.fails()
    assert isinstance(error, InputError) and "row 2: there is no reasoning to learn" in str(error)
    assert not (infra.work_dir / "cot_sft").exists()


def test_a_node_that_is_taken_away_ends_the_others(step: Any, infra: Infra, api: Any) -> None:
    one = step("cot_sft").start()
    one.job()
    nodes = Nodes(api, one.name)
    first = f"{one.name}-node-0-0-abcde"
    api.until(lambda: any("together" in line for line in api.logs[first]), 240)
    nodes.processes[1].send_signal(signal.SIGTERM)
    assert all(nodes.end())
    error = one.fails()
    assert isinstance(error, Preempted) and "told to stop" in str(error)
    assert not (infra.work_dir / "cot_sft").exists()
