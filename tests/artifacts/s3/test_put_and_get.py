"""The store in a bucket of a real server: what can be read is whole, and what was put."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.error import S3Error
from services.s3_store import NOTHING_OLD, PART, PREFIX, Sent, afresh, names

from deepperception.artifacts import Ref, S3Settings, open_store, payload_digest, read_manifest, resolve, seal
from deepperception.artifacts import s3 as module
from deepperception.artifacts.s3 import S3Store
from deepperception.errors import InfrastructureError, InputError
from deepperception.progress import Progress

pytestmark = pytest.mark.s3


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
