"""The smaller pipelines through KFP's own local runner, every step real."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import open_store, read_manifest, read_metrics
from deepperception.infra import Infra, load_infra
from deepperception.platform.packages import pipeline
from deepperception.recipe import load_recipe

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")


@pytest.fixture
def infra(tmp_path: Path) -> Infra:
    return load_infra("laptop", tmp_path / "run")


def run(name: str, infra: Infra, tmp_path: Path, settings: list[str], **arguments: Any) -> None:
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"))
    recipe = load_recipe("bestiary", settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # settings for clusters do nothing here
        pipeline(name)(recipe=recipe.to_json(), infra=infra.to_json(), seed=recipe.seed, **arguments)


def test_photos_become_datasets(infra: Infra, tmp_path: Path) -> None:
    rows = "synthesis.rows={sft: 8, rl: 8, validation: 8, test: 8}"
    run("synthesis", infra, tmp_path, [rows, "synthesis.source.options.photos_per_entity=12"])
    made = read_manifest(infra.work_dir / "synthesis")
    assert made.kind == "dataset"
    assert {path.stem for path in (infra.work_dir / "synthesis").glob("*.parquet")} == {
        "sft",
        "rl",
        "validation",
        "test",
    }
    assert not (infra.work_dir / "base").exists()


def test_a_model_is_scored_on_a_benchmark(
    infra: Infra, tmp_path: Path, random_checkpoint: Path, creature_rows: Path
) -> None:
    folder = tmp_path / "benchmark"
    folder.mkdir()
    shutil.copyfile(creature_rows / "rl.parquet", folder / "benchmark.parquet")
    reference = open_store(infra.store).put(folder)
    run("benchmark", infra, tmp_path, [f"model.base={random_checkpoint}"], file=str(reference))
    scores = read_metrics(infra.work_dir / "scoring")
    assert scores["benchmark"]["cases"] == 12
    assert read_manifest(infra.work_dir / "base").kind == "model"
