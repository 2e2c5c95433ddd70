"""What the tests of the S3 store share: names, another machine, and a count of what is sent."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from deepperception.artifacts import S3Settings, s3_bucket
from deepperception.artifacts.s3 import S3Store
from deepperception.progress import Progress

PREFIX = "a/store"
PART = 5 << 20
NOTHING_OLD: dict[str, Any] = {"dry_run": False, "min_age_s": 0.0}


def names(client: Minio, bucket: str) -> list[str]:
    return [str(each.object_name) for each in client.list_objects(bucket, recursive=True)]


def afresh(store: S3Store, settings: S3Settings, tmp_path: Path) -> S3Store:
    """The same store, as seen by a machine that has fetched nothing."""
    other = settings.model_copy(update={"cache_dir": tmp_path / f"cache-{time.time_ns()}"})
    return S3Store(store._bucket.name, PREFIX, other, Progress("", io.StringIO()), leftover_age_s=0.0)


class Sent:
    """Counts the files that are really sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        upload = s3_bucket.Bucket.upload

        def counted(bucket: s3_bucket.Bucket, path: Path, name: str, **about: Any) -> str:
            self.names.append(path.name)
            return upload(bucket, path, name, **about)

        monkeypatch.setattr(s3_bucket.Bucket, "upload", counted)
