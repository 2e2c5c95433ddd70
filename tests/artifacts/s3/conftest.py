"""A store in a bucket of a real server, and an artifact."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from minio import Minio
from services.s3_store import PART, PREFIX

from deepperception.artifacts import S3Settings
from deepperception.artifacts.s3 import S3Store
from deepperception.artifacts.s3_settings import credentials
from deepperception.progress import Progress


@pytest.fixture
def settings(tmp_path: Path, s3_bucket: str) -> S3Settings:
    return S3Settings.from_environment().model_copy(
        update={"part_mib": 5, "cache_dir": tmp_path / "cache", "patience_s": 120.0}
    )


@pytest.fixture
def store(settings: S3Settings, s3_bucket: str, progress: Progress) -> S3Store:
    return S3Store(s3_bucket, PREFIX, settings, progress, leftover_age_s=0.0)


@pytest.fixture
def client(settings: S3Settings) -> Minio:
    """Somebody else, at the same bucket."""
    key = credentials()
    address = settings.endpoint.removeprefix("http://")
    return Minio(address, key.access_key, key.secret_key, secure=False, region=settings.region)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Files of several parts, of one, of no byte, and with a name that must be quoted."""
    folder = tmp_path / "model"
    (folder / "evidence" / "more").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(random.Random(0).randbytes(3 * PART + 17))
    (folder / "evidence" / "curves.jsonl").write_text("{}\n")
    (folder / "evidence" / "more" / "a b+ü=%2F.txt").write_text("quoted")
    (folder / "empty").write_bytes(b"")
    return folder
