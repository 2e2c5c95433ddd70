"""Servers and clients die on the way: nothing half is ever read, and all of it can be repeated."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from services.rgw import Rgw
from services.s3_store import NOTHING_OLD, PART, PREFIX, Sent, afresh, names

from deepperception.artifacts import Ref, S3Settings, payload_digest, read_manifest, s3_bucket, seal
from deepperception.artifacts.s3 import S3Store
from deepperception.errors import InfrastructureError, InputError
from deepperception.progress import Progress

pytestmark = pytest.mark.s3


OUTAGE_S = 10.0


class Halfway:
    """Stops an upload at its third read until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self._go_on, self._reads = threading.Event(), threading.Event(), 0
        read = s3_bucket._Checked.read

        def stopping(file: Any, size: int = -1) -> bytes:
            self._reads += 1
            if self._reads == 3:
                self._reached.set()
                self._go_on.wait()
            return read(file, size)

        monkeypatch.setattr(s3_bucket._Checked, "read", stopping)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Waits for the upload to come so far; it goes on after the block."""
        assert self._reached.wait(60)
        try:
            yield
        finally:
            self._go_on.set()


def test_a_server_that_is_killed_in_an_upload_and_comes_back_is_waited_for(
    store: S3Store,
    model: Path,
    settings: S3Settings,
    tmp_path: Path,
    s3_server: Any,
    log: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (model / "model.safetensors").write_bytes(random.Random(1).randbytes(6 * PART))
    gateway: Rgw = s3_server.gateway
    halfway = Halfway(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(store.put, model)
        with halfway.stopped():
            gateway.kill_gateway()
        time.sleep(OUTAGE_S)  # no wait for readiness: this is the outage
        assert not putting.done()
        gateway.start_gateway()
        ref = putting.result(120)
    assert payload_digest(afresh(store, settings, tmp_path).get(ref)) == ref.digest
    said = log.getvalue().splitlines()
    assert any(line.startswith(f"waiting for {gateway.endpoint} (connection re") for line in said), said
    assert any("is back after" in line for line in said), said
    assert len(said) <= 4, "an outage is said once, not once a try"


def test_a_server_that_loses_the_last_answer_is_understood(
    store: S3Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete, calls = Minio._complete_multipart_upload, []

    def answer_lost(client: Minio, bucket: str, key: str, upload_id: str, *rest: Any) -> Any:
        complete(client, bucket, key, upload_id, *rest)
        calls.append(key)
        return complete(client, bucket, key, upload_id, *rest)  # as the patient client asks again

    monkeypatch.setattr(Minio, "_complete_multipart_upload", answer_lost)
    ref = store.put(model)
    assert payload_digest(store.get(ref)) == ref.digest
    assert calls


def test_a_server_that_stays_down_is_given_up_on_once(
    settings: S3Settings,
    s3_bucket: str,
    model: Path,
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
    s3_server: Any,
) -> None:
    brief = S3Store(s3_bucket, PREFIX, settings.model_copy(update={"patience_s": 1.0}), progress)
    with ThreadPoolExecutor(1) as pool, monkeypatch.context() as patched:
        halfway = Halfway(patched)
        putting = pool.submit(brief.put, model)
        with halfway.stopped():
            s3_server.gateway.kill_gateway()
        try:
            with pytest.raises(InfrastructureError, match=r"server is down \(connection re.*\), for longer than 1 s"):
                putting.result(60)
        finally:
            s3_server.gateway.start_gateway()
    ref = brief.put(model)
    assert payload_digest(brief.get(ref)) == ref.digest


_PUT = """
import signal, sys, time
from pathlib import Path
from deepperception.artifacts import S3Settings, s3_bucket
from deepperception.artifacts.s3 import S3Store
from deepperception.progress import Progress

bucket, prefix, cache, folder, stop_at = sys.argv[1:]
reads, read = 0, s3_bucket._Checked.read

def stopping(file, size=-1):
    global reads
    reads += 1
    if reads == int(stop_at):
        time.sleep(1)  # so that the parts before are on their way, or there
        print("half", flush=True)
        signal.pause()
    return read(file, size)

s3_bucket._Checked.read = stopping
settings = S3Settings.from_environment().model_copy(update={"part_mib": 5, "cache_dir": Path(cache)})
print(S3Store(bucket, prefix, settings, Progress()).put(Path(folder)), flush=True)
"""


def putting(bucket: str, cache: Path, folder: Path, stop_at: int = 0) -> subprocess.Popen[str]:
    """A process of its own; at its read number `stop_at` it prints "half" and waits for its end."""
    command = [sys.executable, "-c", _PUT, bucket, PREFIX, str(cache), str(folder), str(stop_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_put_that_is_killed_leaves_nothing_to_read_and_can_be_repeated(
    store: S3Store, model: Path, s3_bucket: str, tmp_path: Path, client: Minio, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "also").write_bytes(b"a small file, which sorts first")
    ref = Ref("s3://", payload_digest(model))
    with putting(s3_bucket, tmp_path / "other", model, stop_at=7) as process:
        assert process.stdout and process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert [upload.name.rpartition("/")[2] for upload in store._bucket.uploads("")] == ["model.safetensors"]
    with pytest.raises(InputError, match="no such artifact, or not all of it"):
        store.get(ref)
    sent = Sent(monkeypatch)
    assert store.put(model).digest == ref.digest
    assert "also" not in sent.names, "what the killed one had finished is not sent again"
    assert "model.safetensors" in sent.names
    assert payload_digest(store.get(ref)) == ref.digest
    assert [(each.digest, each.what) for each in store.sweep({ref.digest}, **NOTHING_OLD)] == [(ref.digest, "leftover")]
    assert not store._bucket.uploads(""), "the parts of the dead are gone"
    assert store.sweep({ref.digest}, **NOTHING_OLD) == []


def test_what_a_killed_put_left_is_swept(
    store: S3Store, model: Path, s3_bucket: str, tmp_path: Path, client: Minio
) -> None:
    (model / "also").write_bytes(b"a small file, which sorts first")
    with putting(s3_bucket, tmp_path / "other", model, stop_at=7) as process:
        assert process.stdout and process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    patient = S3Store(s3_bucket, PREFIX, S3Settings.from_environment(), Progress("", io.StringIO()))
    assert patient.sweep((), **NOTHING_OLD) == [], "it could be a put that is at work"
    planned = store.sweep((), dry_run=True)
    assert [(each.digest, each.what) for each in planned] == [(payload_digest(model), "leftover")]
    assert names(client, s3_bucket), "a dry run removes nothing"
    assert store.sweep((), **NOTHING_OLD) == planned
    assert names(client, s3_bucket) == []
    assert not store._bucket.uploads("")


def test_two_processes_may_put_the_same(
    store: S3Store, model: Path, s3_bucket: str, tmp_path: Path, client: Minio
) -> None:
    seal(model, kind="model", inputs={}, recipe_hash="r", seed=0)
    twin = tmp_path / "twin"
    subprocess.run(["cp", "-r", model, twin], check=True)
    seal(twin, kind="model", inputs={}, recipe_hash="another", seed=1)
    with putting(s3_bucket, tmp_path / "one", model) as one, putting(s3_bucket, tmp_path / "two", twin) as two:
        told = [one.communicate(timeout=120)[0], two.communicate(timeout=120)[0]]
    assert told[0] == told[1]
    got = store.get(Ref.parse(told[0].strip()))
    assert payload_digest(got) == payload_digest(model)
    assert read_manifest(got) in (read_manifest(model), read_manifest(twin))
    assert not store._bucket.uploads("")


def test_killed_at_any_change_to_the_disk_a_get_can_be_repeated(
    store: S3Store,
    settings: S3Settings,
    s3_bucket: str,
    tmp_path: Path,
    killed_at: Callable[[int, Callable[[], Any]], bool],
) -> None:
    folder = tmp_path / "small"
    (folder / "evidence").mkdir(parents=True)
    (folder / "evidence" / "file").write_text("x")
    ref = store.put(folder)
    for step in range(100):
        cache = tmp_path / f"cache{step}"
        fetching = settings.model_copy(update={"cache_dir": cache})

        def get(fetching: S3Settings = fetching) -> Path:
            return S3Store(s3_bucket, PREFIX, fetching, Progress("", io.StringIO())).get(ref)

        killed = killed_at(step, get)
        for path in (cache / "sha256").glob("*"):
            assert payload_digest(path) == ref.digest, "a copy that can be seen is whole"
        assert payload_digest(get()) == ref.digest
        assert [path.suffix for path in (cache / "incoming").iterdir()] == [".lock"], "nothing half fetched is left"
        if not killed:
            break
    assert not killed
    assert step > 5, "the kills came all through the work"


def test_a_full_disk_under_the_cache_is_one_sentence(
    store: S3Store, model: Path, settings: S3Settings, s3_bucket: str, small_disk: Path, progress: Progress
) -> None:
    ref = store.put(model)
    small = S3Store(s3_bucket, PREFIX, settings.model_copy(update={"cache_dir": small_disk}), progress)
    with pytest.raises(InputError, match="the disk is full"):
        small.get(ref)
    assert not list((small_disk / "sha256").glob("*"))
    assert [path.suffix for path in (small_disk / "incoming").iterdir()] == [".lock"], "the half copy frees its room"
