"""Steps that share nothing but a bucket and the record, as pods on a cluster do."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from deepperception.artifacts import S3Settings, payload_digest
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.platform.stages import execute
from deepperception.platform.workplace import Workplace
from deepperception.recipe import Recipe
from deepperception.tracking import Tracker


@pytest.mark.s3
def test_an_artifact_goes_from_step_to_step_through_a_bucket(
    recipe: Recipe, infra: Infra, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine(name: str) -> Infra:
        s3 = S3Settings.from_environment().model_copy(update={"cache_dir": tmp_path / name / "cache"})
        changes = {"store": f"s3://{s3_bucket}/store", "s3": s3, "work_dir": tmp_path / name / "work"}
        return infra.model_copy(update=changes)

    one, other = machine("one"), machine("other")
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # the infra file says it
    outputs = execute("base", recipe.to_json(), one.to_json(), recipe.seed, {})
    told = outputs["model"]["metadata"]
    assert told["uri"].startswith(f"s3://{s3_bucket}/store/sha256/")
    assert "secret" not in one.to_json()

    fetched = Workplace("sft", recipe, other, {"model": told}).fetch("model")
    assert fetched.is_relative_to(tmp_path / "other" / "cache")
    assert payload_digest(fetched) == told["digest"] == payload_digest(one.work_dir / "base")
    run = Tracker(infra.tracking_uri, infra.experiment)._client.get_run(told["run_id"])
    assert (run.data.tags["uri"], run.data.tags["digest"]) == (told["uri"], told["digest"])


def test_a_step_without_a_key_is_told_so(recipe: Recipe, infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    changes = {"store": "s3://models/store", "s3": S3Settings(endpoint="http://127.0.0.1:1")}
    with pytest.raises(InputError, match="the environment lacks AWS_ACCESS_KEY_ID"):
        Workplace("sft", recipe, infra.model_copy(update=changes), {})
