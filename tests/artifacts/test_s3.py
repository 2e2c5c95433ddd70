"""The store in a bucket of a real server: what can be read is whole, whoever dies on the way."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
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
from minio.error import S3Error
from services.rgw import Rgw

from deepperception.artifacts import (
    Ref,
    S3Settings,
    open_store,
    payload_digest,
    read_manifest,
    resolve,
    s3_bucket,
    s3_sweep,
    seal,
)
from deepperception.artifacts import s3 as module
from deepperception.artifacts.s3 import S3Store
from deepperception.errors import InfrastructureError, InputError
from deepperception.progress import Progress

pytestmark = pytest.mark.s3

PREFIX = "a/store"
PART = 5 << 20
NOTHING_OLD: dict[str, Any] = {"dry_run": False, "min_age_s": 0.0}
OUTAGE_S = 10.0


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
    return connected(settings)


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


def connected(settings: S3Settings) -> Minio:
    given = s3_bucket.credentials()
    address = settings.endpoint.removeprefix("http://")
    return Minio(address, given.access_key, given.secret_key, secure=False, region=settings.region)


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


def test_what_was_put_is_got_byte_for_byte(store: S3Store, model: Path, client: Minio, s3_bucket: str) -> None:
    seal(model, kind="model", inputs={}, recipe_hash="r", seed=0)
    ref = store.put(model)
    hexadecimal = ref.digest.removeprefix("sha256:")
    assert ref == Ref(f"s3://{s3_bucket}/{PREFIX}/sha256/{hexadecimal}", payload_digest(model))
    weights = client.stat_object(s3_bucket, f"{PREFIX}/sha256/{hexadecimal}/model.safetensors")
    assert str(weights.etag).endswith("-4"), "it went in four parts"
    got = store.get(ref)
    files = {path.relative_to(got).as_posix(): path.read_bytes() for path in got.rglob("*") if path.is_file()}
    assert files == {p.relative_to(model).as_posix(): p.read_bytes() for p in model.rglob("*") if p.is_file()}
    assert read_manifest(got) == read_manifest(model)


def test_it_is_sent_once_and_fetched_once(
    store: S3Store, model: Path, monkeypatch: pytest.MonkeyPatch, client: Minio, s3_bucket: str
) -> None:
    sent, passes, upload = Sent(monkeypatch), list[Path](), S3Store._upload

    def counted(store: S3Store, folder: Path, *about: Any) -> Any:
        passes.append(folder)
        return upload(store, folder, *about)

    monkeypatch.setattr(S3Store, "_upload", counted)
    ref = store.put(model)
    assert sorted(sent.names) == sorted(path.name for path in model.rglob("*") if path.is_file())
    assert len(passes) == 1, "the entry was found complete at once"
    sent.names.clear()
    assert store.put(model) == ref
    assert not sent.names
    got = store.get(ref)
    for name in names(client, s3_bucket):
        client.remove_object(s3_bucket, name)
    assert store.get(ref) == got, "the copy on this machine has the same digest, so it is the artifact"


def test_a_reference_is_found_through_the_environment(
    store: S3Store, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_bucket: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    ref = store.put(model)
    assert payload_digest(resolve(str(ref))) == ref.digest
    assert (tmp_path / "xdg" / "deepperception" / "store" / "sha256").is_dir()
    assert open_store(f"s3://{s3_bucket}/{PREFIX}/").put(model) == ref


def test_a_store_may_lie_at_the_top_of_its_bucket(
    settings: S3Settings, model: Path, progress: Progress, s3_bucket: str
) -> None:
    store = open_store(f"s3://{s3_bucket}", settings, progress)
    ref = store.put(model)
    assert ref.uri.startswith(f"s3://{s3_bucket}/sha256/")
    assert payload_digest(store.get(ref)) == ref.digest
    assert store.sweep({ref.digest}, **NOTHING_OLD) == []


def test_a_reference_to_nothing_is_refused(store: S3Store, model: Path) -> None:
    ref = Ref(store.put(model).uri, "sha256:" + "0" * 64)
    with pytest.raises(InputError, match="holds no such artifact"):
        store.get(ref)


def test_an_artifact_that_changed_after_its_seal_is_refused(
    store: S3Store, model: Path, client: Minio, s3_bucket: str
) -> None:
    seal(model, kind="model", inputs={}, recipe_hash="r", seed=0)
    (model / "empty").write_bytes(b"no more")
    with pytest.raises(InputError, match="its files changed after"):
        store.put(model)
    assert names(client, s3_bucket) == []


def test_a_file_that_changes_while_it_is_sent_is_not_kept(
    store: S3Store, model: Path, client: Minio, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = module.file_digests

    def then_changed(folder: Path) -> dict[str, str]:
        found = digests(folder)
        with (folder / "model.safetensors").open("r+b") as file:
            file.seek(2 * PART)
            file.write(b"changed")
        return found

    monkeypatch.setattr(module, "file_digests", then_changed)
    with pytest.raises(InputError, match="changed while it was being stored"):
        store.put(model)
    assert not [name for name in names(client, s3_bucket) if name.endswith((".safetensors", ".json"))]
    assert not store._bucket.uploads(""), "the parts that were sent are deleted"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("overwritten", "model.safetensors: the stored object is damaged"),
        ("cut", "model.safetensors: the stored object is damaged"),
        ("longer", "model.safetensors: the stored object is damaged"),
        ("missing", "model.safetensors: the stored object is damaged"),
    ],
)
def test_a_tampered_object_is_found_and_mended_by_the_next_put(
    store: S3Store, model: Path, client: Minio, s3_bucket: str, settings: S3Settings, tmp_path: Path,
    damage: str, message: str,
) -> None:  # fmt: skip
    ref = store.put(model)
    key = f"{PREFIX}/sha256/{ref.digest[7:]}/model.safetensors"
    content = bytearray((model / "model.safetensors").read_bytes())
    content[PART] ^= 1
    changed = {"overwritten": bytes(content), "cut": bytes(content[:-1]), "longer": bytes(content) + b"!"}
    if damage == "missing":
        client.remove_object(s3_bucket, key)
    else:
        client.put_object(s3_bucket, key, io.BytesIO(changed[damage]), len(changed[damage]))
    with pytest.raises(InfrastructureError, match=message):
        store.get(ref)
    assert not list((tmp_path / "cache" / "sha256").glob("*")), "nothing damaged is kept"
    assert store.put(model) == ref
    assert payload_digest(afresh(store, settings, tmp_path).get(ref)) == ref.digest


@pytest.mark.parametrize("index", [b"", b"{}", b"no json", "other digest", "other manifest", "outside"])
def test_a_tampered_index_makes_an_entry_absent(
    store: S3Store, model: Path, client: Minio, s3_bucket: str, index: bytes | str
) -> None:
    seal(model, kind="model", inputs={}, recipe_hash="r", seed=0)
    ref = store.put(model)
    key = f"{PREFIX}/sha256/{ref.digest[7:]}.json"
    told = json.loads(client.get_object(s3_bucket, key).data)
    if index == "other digest":
        told["files"]["empty"]["sha256"] = "0" * 64
    if index == "other manifest":
        told["manifest"] = told["manifest"].replace(ref.digest, "sha256:" + "0" * 64)
    if index == "outside":
        told["files"]["../../empty"] = told["files"].pop("empty")
    content = json.dumps(told).encode() if isinstance(index, str) else index
    client.put_object(s3_bucket, key, io.BytesIO(content), len(content))
    with pytest.raises(InputError, match="no such artifact, or not all of it"):
        store.get(ref)
    assert store.put(model) == ref
    assert payload_digest(store.get(ref)) == ref.digest


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


def test_a_name_that_s3_cannot_have_is_refused(store: S3Store, model: Path, client: Minio, s3_bucket: str) -> None:
    Path(os.fsdecode(bytes(model) + b"/\xff")).write_text("x")
    with pytest.raises(InputError, match=r"the file name '\\udcff' is no UTF-8"):
        store.put(model)
    assert names(client, s3_bucket) == []


def test_a_check_leaves_nothing_behind(store: S3Store, client: Minio, s3_bucket: str) -> None:
    store.check()
    assert names(client, s3_bucket) == []


def test_the_server_itself_checks_what_arrives(store: S3Store, client: Minio, s3_bucket: str) -> None:
    """Otherwise a digest taken on the way in would say little."""
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(S3Error):
        client._execute("PUT", s3_bucket, "object", body=b"content", headers={"Content-MD5": wrong})
