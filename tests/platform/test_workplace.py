"""What a step leaves in MLflow, and that MLflow is no condition for a step."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from deepperception.artifacts import read_manifest, seal
from deepperception.infra import Infra
from deepperception.platform.stages import execute
from deepperception.platform.workplace import Workplace, pipeline_key
from deepperception.recipe import Recipe
from deepperception.tracking import MODEL, Outbox, Tracker, send_waiting

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

DATA = "sha256:" + "d" * 64


def made(folder: Path, kind: str = "model") -> Path:
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{}")
    inputs = {"data": DATA, "arm": "sft"}
    seal(folder, kind=kind, inputs=inputs, recipe_hash="sha256:recipe", seed=0, metrics={"accuracy": 0.5})
    return folder


def test_a_record_and_a_version_say_where_they_come_from(
    recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPPERCEPTION_COMMIT", "c0ffee")
    monkeypatch.setenv("DEEPPERCEPTION_IMAGE", "registry/trainer@sha256:1")
    place = Workplace("sft", recipe, infra, {"data": {"uri": "file:///data", "digest": DATA}})
    folder = made(infra.work_dir / "sft")
    kept = place.keep("sft", folder, files=["card.json"])
    manifest = read_manifest(folder)
    origin = {
        "data": DATA,
        "recipe_hash": "sha256:recipe",
        "code_version": manifest.code_version,
        "release": manifest.code_version.partition("+")[0],
        "commit": "c0ffee",
        "image": "registry/trainer@sha256:1",
    }
    tags = place.tracker._client.get_run(kept["run_id"]).data.tags
    assert {key: tags[key] for key in origin} == origin
    assert (tags["digest"], tags["input.data"], tags["kind"]) == (manifest.digest, DATA, "model")
    assert "input.arm" not in tags
    pipeline = place.tracker._client.get_run(place.run_id).data.tags
    assert pipeline["recipe_hash"] == f"sha256:{pipeline_key(recipe)}"
    assert (pipeline["commit"], pipeline["image"]) == ("c0ffee", "registry/trainer@sha256:1")
    place.tracker.register(MODEL, kept["uri"], kept["digest"], None, {"arm": "sft"})
    (version,) = place.tracker.versions(MODEL)
    assert version.run_id == kept["run_id"]
    assert {key: version.tags[key] for key in origin} == origin


def test_a_dataset_is_its_own_data(recipe: Recipe, infra: Infra) -> None:
    place = Workplace("synthesis", recipe, infra, {})
    kept = place.keep("synthesis", made(infra.work_dir / "synthesis", "dataset"))
    assert place.tracker._client.get_run(kept["run_id"]).data.tags["data"] == kept["digest"]


def test_a_step_ends_well_without_a_server_and_its_record_comes_later(
    recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with socket.socket() as holder:  # bound and not listening: nobody answers
        holder.bind(("127.0.0.1", 0))
        away = infra.model_copy(update={"tracking_uri": f"http://127.0.0.1:{holder.getsockname()[1]}"})
        outputs = execute("base", recipe.to_json(), away.to_json(), recipe.seed, {})
    metadata = outputs["model"]["metadata"]
    assert (metadata["run_id"], metadata["digest"]) == ("", read_manifest(infra.work_dir / "base").digest)
    assert "work/tracking: 1; a later step" in capsys.readouterr().err
    assert send_waiting(infra.tracking_uri, infra.experiment, infra.work_dir, print) == 0
    tracker = Tracker(infra.tracking_uri, infra.experiment)
    run = tracker.runs.find_by_digest(metadata["digest"])
    assert run is not None and run.info.status == "FINISHED"


def test_weights_are_recorded_by_reference_only(recipe: Recipe, infra: Infra) -> None:
    outputs = execute("base", recipe.to_json(), infra.to_json(), recipe.seed, {})
    metadata = outputs["model"]["metadata"]
    client = Tracker(infra.tracking_uri, infra.experiment)._client
    tags = client.get_run(metadata["run_id"]).data.tags
    assert (tags["uri"], tags["digest"]) == (metadata["uri"], metadata["digest"])
    assert client.list_artifacts(metadata["run_id"]) == []
    assert Outbox(infra.work_dir).waiting() == 0
    assert "model.safetensors" not in json.dumps(tags)
