"""Garbage collection in a bucket, beside puts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from services.s3_store import NOTHING_OLD, PREFIX, afresh, names

from deepperception.artifacts import S3Settings, payload_digest, s3_sweep
from deepperception.artifacts import s3 as module
from deepperception.artifacts.s3 import S3Store
from deepperception.errors import InputError
from deepperception.progress import Progress

pytestmark = pytest.mark.s3


def test_sweeping_keeps_what_is_named_or_new(
    store: S3Store, model: Path, client: Minio, s3_bucket: str, settings: S3Settings, tmp_path: Path
) -> None:
    kept = store.put(model)
    (model / "empty").write_bytes(b"older")
    old = store.put(model)
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    client.put_object(s3_bucket, f"{PREFIX}/sha256/README", io.BytesIO(b"x"), 1)
    assert store.sweep({kept.digest}, dry_run=False, min_age_s=3600) == [], "somebody has just put it"
    planned = store.sweep({kept.digest}, dry_run=True)
    assert [(each.digest, each.size, each.what) for each in planned] == [(old.digest, size, "artifact")]
    assert afresh(store, settings, tmp_path).get(old), "a dry run removes nothing"
    assert store.sweep({kept.digest}, **NOTHING_OLD) == planned
    other = afresh(store, settings, tmp_path)
    assert payload_digest(other.get(kept)) == kept.digest
    with pytest.raises(InputError, match="holds no such artifact"):
        other.get(old)
    left = [name for name in names(client, s3_bucket) if kept.digest[7:] not in name]
    assert left == [f"{PREFIX}/sha256/README"], "what the store did not write is left alone"


def test_a_put_while_garbage_is_collected_wins(
    store: S3Store, model: Path, settings: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = store.put(model)
    removed = s3_sweep._remove

    def put_in_between(*about: Any) -> bool:
        assert afresh(store, settings, tmp_path).put(model) == ref
        return removed(*about)

    monkeypatch.setattr(s3_sweep, "_remove", put_in_between)
    assert store.sweep((), **NOTHING_OLD) == []
    assert payload_digest(afresh(store, settings, tmp_path).get(ref)) == ref.digest


def test_a_put_waits_for_a_collector_that_has_begun_and_sends_again_what_it_took(
    store: S3Store, model: Path, client: Minio, s3_bucket: str, progress: Progress, log: io.StringIO,
    settings: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ref = store.put(model)
    mark, weights = f"{PREFIX}/removing/{ref.digest[7:]}", f"{PREFIX}/sha256/{ref.digest[7:]}/model.safetensors"
    client.put_object(s3_bucket, mark, io.BytesIO(b""), 0)

    def collector_ends(_: float) -> None:
        client.remove_object(s3_bucket, weights)
        client.remove_object(s3_bucket, mark)

    monkeypatch.setattr(module.time, "sleep", collector_ends)
    assert store.put(model) == ref
    assert "waiting: garbage collection is at sha256:" in log.getvalue()
    assert payload_digest(afresh(store, settings, tmp_path).get(ref)) == ref.digest
