"""Garbage collection: what is registered, recent or finished stays; the rest goes, from both kinds of store."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from deepperception.artifacts import Ref, S3Settings, Store, open_store, seal
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.platform import upkeep
from deepperception.tracking import MODEL, Pipeline, Recorder, Tracker

DAY_S = 86_400

Artifact = Callable[..., Ref]


@pytest.fixture
def store(infra: Infra) -> Store:
    infra.work_dir.mkdir(parents=True)
    return open_store(infra.store)


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all its tables, made once: every test copies it."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    Tracker(f"sqlite:///{path}", "tests")
    return path


@pytest.fixture
def tracker(infra: Infra, empty_registry: Path, tmp_path: Path) -> Tracker:
    (tmp_path / "run").mkdir(exist_ok=True)
    shutil.copy(empty_registry, tmp_path / "run" / "mlflow.db")
    return Tracker(infra.tracking_uri, infra.experiment)


@pytest.fixture
def kept(store: Store, tmp_path: Path) -> Artifact:
    """Puts an artifact; `age_days` ago, as the store sees it."""

    def make(name: str, age_days: float = 100) -> Ref:
        folder = tmp_path / "artifacts" / name
        folder.mkdir(parents=True)
        (folder / "file").write_text(name)
        ref = store.put(folder)
        then = time.time() - age_days * DAY_S
        os.utime(store.get(ref), (then, then))
        return ref

    return make


def ran(infra: Infra, name: str, age_days: float, *, experiment: str | None = None, **tags: str) -> str:
    """A finished pipeline's run, with one stage, `age_days` ago."""
    place = (infra.tracking_uri, experiment or infra.experiment, infra.work_dir)
    recorder = Recorder(*place, Pipeline(f"key of {name}", name), "sft", print)
    pipeline = recorder.pipeline_run()
    stage = recorder.stage_run("sft", name, tags=tags)
    recorder.finish()
    assert stage is not None
    for run_id in (pipeline, stage):
        end(recorder.tracker, run_id, age_days)
    return pipeline


def end(tracker: Tracker, run_id: str, age_days: float) -> None:
    """As if the run had begun and ended then."""
    then_ms = int((time.time() - age_days * DAY_S) * 1000)
    from mlflow.entities import RunStatus
    from mlflow.store.tracking.dbmodels.models import SqlRun

    tracker._client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED), end_time=then_ms)
    with tracker._client._tracking_client.store.ManagedSessionMaker() as session:
        session.query(SqlRun).filter_by(run_uuid=run_id).update({"start_time": then_ms})


def swept(infra: Infra, days: int = 30, *, dry_run: bool = False) -> set[str]:
    """The digests that a sweep names."""
    *entries, total = upkeep.sweep(infra, days=days, dry_run=dry_run)
    assert total.startswith(f"{len(entries)} ")
    return {line.split()[0] for line in entries}


def test_what_nothing_refers_to_goes(infra: Infra, tracker: Tracker, kept: Artifact, store: Store) -> None:
    old, new = kept("old"), kept("new", age_days=29)
    assert swept(infra, dry_run=True) == {old.digest}
    assert store.get(old)
    assert swept(infra) == {old.digest}
    assert store.get(new), "it may be of a run that has not said so yet"
    assert swept(infra) == set()
    assert swept(infra, days=28) == {new.digest}


def test_a_registered_version_keeps_model_and_evidence_for_ever(infra: Infra, tracker: Tracker, kept: Artifact) -> None:
    model, evidence, other, rubbish = kept("model"), kept("evidence"), kept("other"), kept("rubbish")
    tracker.register(MODEL, model.uri, model.digest, None, {"evidence": evidence.digest})
    tracker.register("another model", other.uri, other.digest, None, {})
    assert swept(infra, days=0) == {rubbish.digest}


def test_runs_keep_what_they_name_for_so_many_days(infra: Infra, tracker: Tracker, kept: Artifact) -> None:
    recent, old, named, of_another = (kept(name) for name in ("recent", "old", "named", "of another experiment"))
    ran(infra, "recent", 29, digest=recent.digest, base=f"{named.uri}#{named.digest}")
    ran(infra, "old", 31, digest=old.digest)
    ran(infra, "elsewhere", 1, experiment="another", digest=of_another.digest)
    assert swept(infra) == {old.digest}


def test_an_old_stage_is_of_a_pipeline_that_ran_again(infra: Infra, tracker: Tracker, kept: Artifact) -> None:
    """A stage is recorded once; the pipeline that reuses it is what is recent."""
    ref = kept("reused")
    pipeline = ran(infra, "again", 100, digest=ref.digest)
    end(tracker, pipeline, 2)
    assert swept(infra) == set()
    end(tracker, pipeline, 100)
    tracker.pipeline_run(Pipeline("key of again", "again"))
    assert swept(infra) == set(), "it is running at this moment"


def test_finished_stages_of_the_work_folder_stay(infra: Infra, tracker: Tracker, store: Store, kept: Artifact) -> None:
    stage = infra.work_dir / "sft"
    stage.mkdir()
    (stage / "weights").write_text("w")
    seal(stage, kind="model", inputs={}, recipe_hash="", seed=0)
    ref = store.put(stage)
    os.utime(store.get(ref), (0, 0))
    rubbish = kept("rubbish")
    assert swept(infra) == {rubbish.digest}
    assert store.get(ref)


def test_what_a_killed_put_left_goes(infra: Infra, tracker: Tracker, store: Store) -> None:
    incoming = Path(infra.store) / "incoming" / ("a" * 64)
    incoming.mkdir(parents=True)
    (incoming / "half").write_text("half")
    assert next(upkeep.sweep(infra, days=30, dry_run=True)).endswith("leftover")
    assert incoming.is_dir()
    assert swept(infra) == {"sha256:" + "a" * 64}
    assert not incoming.exists()


def test_nothing_is_swept_without_the_records_that_say_what_is_needed(
    infra: Infra, kept: Artifact, store: Store
) -> None:
    ref = kept("old")
    with pytest.raises(InputError, match="there is no such database"):
        swept(infra)
    unreachable = infra.model_copy(update={"work_dir": infra.work_dir / "none"})
    with pytest.raises(InputError, match="there is no such folder"):
        swept(unreachable)
    assert store.get(ref)


@pytest.mark.s3
def test_a_bucket_is_swept_alike(infra: Infra, tracker: Tracker, s3_bucket: str, tmp_path: Path) -> None:
    """From a machine that has no work folder."""
    s3 = S3Settings.from_environment().model_copy(update={"cache_dir": tmp_path / "cache"})
    places = {"runner": "kubeflow", "work_dir": Path("/no/such/folder"), "store": f"s3://{s3_bucket}/store", "s3": s3}
    cluster = infra.model_copy(update=places)
    store, refs = open_store(cluster.store, s3), {}
    for name in ("registered", "of a run", "rubbish"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_text(name)
        refs[name] = store.put(folder)
    tracker.register(MODEL, refs["registered"].uri, refs["registered"].digest, None, {})
    pipeline = ran(infra, "run", 1, digest=refs["of a run"].digest)
    assert swept(cluster) == set(), "all of it is new"
    assert swept(cluster, days=0, dry_run=True) == {refs["of a run"].digest, refs["rubbish"].digest}
    end(tracker, pipeline, -1)
    assert swept(cluster, days=0) == {refs["rubbish"].digest}
    assert store.get(refs["of a run"])
    assert store.get(refs["registered"])
    with pytest.raises(InputError, match="holds no such artifact"):
        store.get(refs["rubbish"])
