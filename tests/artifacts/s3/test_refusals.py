"""What no waiting mends is one sentence, at once."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from services.s3_store import NOTHING_OLD, PREFIX, afresh

from deepperception.artifacts import Ref, S3Settings, payload_digest
from deepperception.artifacts.s3 import S3Store
from deepperception.errors import InputError
from deepperception.progress import Progress

pytestmark = pytest.mark.s3


def test_a_wrong_secret_is_refused_at_once(
    model: Path, settings: S3Settings, s3_bucket: str, progress: Progress, log: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = S3Store(s3_bucket, PREFIX, settings, progress)
    with pytest.raises(InputError, match=r"key is not accepted \(SignatureDoesNotMatch\)"):
        store.put(model)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(InputError, match=r"key is not accepted \(InvalidAccessKeyId\)"):
        S3Store(s3_bucket, PREFIX, settings, progress).check()
    assert log.getvalue() == "", "it was not waited for"


def test_a_missing_bucket_is_one_sentence(model: Path, settings: S3Settings, progress: Progress) -> None:
    store = S3Store("no-such-bucket", PREFIX, settings, progress)
    for action in (
        lambda: store.put(model),
        lambda: store.get(Ref("s3://x", "sha256:" + "0" * 64)),
        lambda: store.sweep((), **NOTHING_OLD),
        store.check,
    ):
        with pytest.raises(InputError, match="there is no bucket 'no-such-bucket'; create it"):
            action()


def test_a_user_without_rights_is_told_so(
    store: S3Store, model: Path, settings: S3Settings, s3_bucket: str, s3_server: Any, client: Minio,
    progress: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ref = store.put(model)
    stranger = s3_server.gateway.create_user(f"stranger-{time.time_ns()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", stranger.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stranger.secret_key)
    theirs = afresh(store, settings, tmp_path)
    with pytest.raises(InputError, match="may not read objects here"):
        theirs.get(ref)
    with pytest.raises(InputError, match="may not write objects here"):
        theirs.check()

    everyone_reads = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{s3_bucket}", f"arn:aws:s3:::{s3_bucket}/*"],
            }
        ],
    }
    client.set_bucket_policy(s3_bucket, json.dumps(everyone_reads))
    assert payload_digest(theirs.get(ref)) == ref.digest, "a server needs no right to write"
    (model / "more").write_text("of another artifact")
    with pytest.raises(InputError, match="may not write objects here"):
        theirs.put(model)
