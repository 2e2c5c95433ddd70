"""The store keeps exactly what it was given, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import FolderStore, Ref, Swept, open_store, payload_digest, resolve, seal
from deepperception.artifacts import folder_store as store_module
from deepperception.errors import InfrastructureError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "evidence").mkdir(parents=True)
    (made / "weights").write_bytes(bytes(range(256)) * 400)
    (made / "evidence" / "curves.jsonl").write_text("{}\n")
    return made


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "a store")


def sealed(folder: Path) -> Path:
    seal(folder, kind="model", inputs={}, recipe_hash="r", seed=0)
    return folder


def entry(store: FolderStore, ref: Ref) -> Path:
    return store.root / "sha256" / ref.digest.removeprefix("sha256:")


def test_what_was_put_is_got(store: FolderStore, folder: Path) -> None:
    ref = store.put(folder)
    assert ref.digest == payload_digest(folder)
    got = store.get(ref)
    assert payload_digest(got) == ref.digest
    assert (got / "weights").read_bytes() == (folder / "weights").read_bytes()
    assert ref.uri == entry(store, ref).as_uri()


def test_a_reference_is_text(store: FolderStore, folder: Path) -> None:
    ref = store.put(folder)
    assert Ref.parse(str(ref)) == ref
    assert resolve(str(ref)) == store.get(ref)
    assert resolve(str(ref), store) == store.get(ref)


def test_putting_twice_copies_once(store: FolderStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = store.put(folder)

    def no_copy(*_: Any, **__: Any) -> None:
        raise AssertionError("copied again")

    monkeypatch.setattr(store_module, "_copy", no_copy)
    assert store.put(folder) == ref
    assert store.put(sealed(folder)) == ref, "the manifest is no part of the digest"


def test_finished_artifacts_are_linked_and_others_copied(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    ref = store.put(folder)
    assert os.stat(entry(store, ref) / "weights").st_nlink == 1, "a user's own folder stays the user's own"
    other = FolderStore(tmp_path / "other")
    assert os.stat(entry(other, other.put(sealed(folder))) / "weights").st_nlink == 2


def test_where_links_are_impossible_it_copies(
    store: FolderStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    ref = store.put(sealed(folder))
    assert payload_digest(store.get(ref)) == ref.digest


def test_a_link_to_a_file_is_stored_as_the_file(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    (folder / "weights").rename(tmp_path / "blob")
    (folder / "weights").symlink_to(tmp_path / "blob")
    stored = store.get(store.put(sealed(folder))) / "weights"
    (tmp_path / "blob").unlink()
    assert not stored.is_symlink()
    assert len(stored.read_bytes()) == 102_400


def test_killed_at_any_change_to_the_disk_a_put_can_be_repeated(
    tmp_path: Path, folder: Path, killed_at: Callable[[int, Callable[[], Any]], bool]
) -> None:
    digest = payload_digest(folder)
    for step in range(100):
        store = FolderStore(tmp_path / f"store{step}")
        killed = killed_at(step, lambda store=store: store.put(folder))  # type: ignore[misc]
        for path in (store.root / "sha256").glob("*"):
            assert payload_digest(path) == digest, "an entry that can be seen is whole"
        assert payload_digest(store.get(store.put(folder))) == digest
        assert [path.suffix for path in (store.root / "incoming").iterdir()] == [".lock"], "nothing half copied is left"
        if not killed:
            break
    assert not killed
    assert step > 5, "the kills came all through the work"


def test_a_damaged_entry_is_detected_and_mended_by_the_next_put(store: FolderStore, folder: Path) -> None:
    ref = store.put(folder)
    weights = entry(store, ref) / "weights"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InfrastructureError, match="the stored files are damaged"):
        store.get(ref)
    assert store.put(folder) == ref
    assert payload_digest(store.get(ref)) == ref.digest


@pytest.mark.parametrize("damage", ["missing", "added", "emptied"])
def test_every_kind_of_damage_is_detected(store: FolderStore, folder: Path, damage: str) -> None:
    ref = store.put(folder)
    weights = entry(store, ref) / "weights"
    match damage:
        case "missing":
            weights.unlink()
        case "added":
            weights.with_name("more").write_text("")
        case "emptied":
            weights.write_bytes(b"")
    with pytest.raises(InfrastructureError, match="damaged"):
        store.get(ref)


def test_a_copy_that_comes_out_different_is_not_kept(
    store: FolderStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = store_module._copy

    def flawed(source: Path, target: Path, *, link: bool) -> None:
        original(source, target, link=link)
        (target / "weights").write_bytes(b"something else")

    monkeypatch.setattr(store_module, "_copy", flawed)
    with pytest.raises(InfrastructureError, match="came out different"):
        store.put(folder)
    assert not list((store.root / "sha256").glob("*"))


def test_an_artifact_that_changed_after_its_seal_is_refused(store: FolderStore, folder: Path) -> None:
    sealed(folder)
    (folder / "weights").write_bytes(b"edited")
    with pytest.raises(InputError, match="its files changed after"):
        store.put(folder)


def test_a_full_disk_is_one_sentence_and_leaves_no_entry(small_disk: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    (big / "weights").write_bytes(bytes(400_000))
    store = FolderStore(small_disk / "store")
    with pytest.raises(InputError, match="the disk is full"):
        store.put(big)
    assert not list((store.root / "sha256").glob("*"))
    assert [path.suffix for path in (store.root / "incoming").iterdir()] == [".lock"], "the half copy frees its room"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), PermissionError("no"), KeyboardInterrupt()])
def test_a_put_that_fails_leaves_no_half_copy(
    store: FolderStore, folder: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(source: str, destination: str) -> None:
        Path(destination).write_bytes(b"half")
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", failing)
        with pytest.raises((InputError, OSError, shutil.Error, KeyboardInterrupt)):
            store.put(folder)
    assert [path.suffix for path in (store.root / "incoming").iterdir()] == [".lock"]
    assert store.get(store.put(folder))


def test_a_reference_to_nothing_is_refused(store: FolderStore, folder: Path) -> None:
    ref = Ref(store.put(folder).uri, "sha256:" + "0" * 64)
    with pytest.raises(InputError, match="holds no such artifact"):
        store.get(ref)


def test_a_store_may_be_moved(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    ref = store.put(folder)
    store.root.rename(tmp_path / "moved")
    assert payload_digest(FolderStore(tmp_path / "moved").get(ref)) == ref.digest


def test_sweeping_keeps_what_is_named(store: FolderStore, folder: Path) -> None:
    kept = store.put(folder)
    (folder / "weights").write_bytes(b"older")
    old = store.put(folder)
    planned = store.sweep({kept.digest}, dry_run=True)
    assert [(swept.digest, swept.size) for swept in planned] == [(old.digest, len("older") + len("{}\n"))]
    assert store.get(old), "a dry run removes nothing"
    assert store.sweep({kept.digest}, dry_run=False) == planned
    assert store.get(kept)
    with pytest.raises(InputError, match="holds no such artifact"):
        store.get(old)
    assert store.sweep({kept.digest}, dry_run=False) == []


def test_a_store_is_opened_by_uri_or_path(tmp_path: Path, folder: Path) -> None:
    ref = open_store(f"file://{tmp_path}/s%20tore").put(folder)
    assert (tmp_path / "s tore").is_dir()
    assert open_store(str(tmp_path / "s tore")).get(ref)


@pytest.mark.parametrize("uri", ["gs://bucket/models", "file://host/path", "", "file://"])
def test_other_stores_are_refused(uri: str) -> None:
    with pytest.raises(InputError, match="give file:///PATH or a path"):
        open_store(uri)


def test_a_folder_store_can_be_checked(store: FolderStore, tmp_path: Path) -> None:
    store.check()
    assert list(store.root.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the store cannot be written to"):
        FolderStore(tmp_path / "file" / "store").check()


def test_a_full_disk_fails_the_check(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 100_000)
    with pytest.raises(OSError), (small_disk / "more").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(InputError, match="the disk is full"):
        FolderStore(small_disk).check()


def test_sweeping_leaves_what_is_new_and_clears_what_killed_puts_left(store: FolderStore, folder: Path) -> None:
    ref = store.put(folder)
    (store.root / "incoming" / ("b" * 64)).mkdir()
    assert store.sweep((), dry_run=False, min_age_s=3600) == [Swept("sha256:" + "b" * 64, 0, "leftover")]
    assert not (store.root / "incoming" / ("b" * 64)).exists()
    os.utime(entry(store, ref), (0, 0))
    assert store.put(folder) == ref
    assert store.sweep((), dry_run=False, min_age_s=3600) == [], "it was put again a moment ago"
    os.utime(entry(store, ref), (0, 0))
    assert [each.digest for each in store.sweep((), dry_run=False, min_age_s=3600)] == [ref.digest]


def test_the_age_of_an_entry_is_that_of_its_put(store: FolderStore, folder: Path) -> None:
    os.utime(folder, (0, 0))
    store.put(folder)
    assert store.sweep((), dry_run=True, min_age_s=3600) == []


def test_a_model_is_named_by_folder_package_or_reference(folder: Path) -> None:
    assert resolve(str(folder)) == folder
    assert (resolve("package://deepperception/grounding") / "boxes.py").is_file()
    assert (resolve("package://deepperception.grounding/") / "boxes.py").is_file()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no/such/folder", "no such folder"),
        ("package://no.such.package/base", "no package 'no.such.package'"),
        ("package://deepperception/no/such", "brings no such folder"),
        ("package://", "no package ''"),
        ("file:///store/sha256/abc", "no reference"),
        ("file:///store/sha256/abc#sha256:abc", "no reference"),
        ("s3://bucket/model#sha256:" + "0" * 64, "does not point into a store"),
        ("file:///elsewhere/abc#sha256:" + "0" * 64, "does not point into a store"),
        ("gs://bucket/sha256/abc#sha256:" + "0" * 64, "does not point into a store"),
        ("file:///store/sha256/abc#sha256:" + "0" * 64, "holds no such artifact"),
    ],
)
def test_a_model_that_cannot_be_found_is_one_sentence(model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(model)


def test_a_model_of_a_hub_is_left_to_the_import_step() -> None:
    with pytest.raises(InputError, match="only a cluster's import step asks a model hub"):
        resolve("hf://org/tiny@" + "a" * 40)
