"""The digest is exact and anyone can check it; the manifest appears last."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import code_version, payload_digest, read_manifest, seal, verify
from deepperception.errors import InputError

SHELL = r"find * -type f ! -path manifest.json | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    payload = tmp_path / "payload"
    for name in ("b.txt", "a/z", "a-b", "a/manifest.json", "Zebra", "ünïcode name"):
        (payload / name).parent.mkdir(parents=True, exist_ok=True)
        (payload / name).write_text(f"content of {name}")
    return payload


def sealed(folder: Path, **changes: Any) -> Any:
    return seal(folder, **({"kind": "dataset", "inputs": {}, "recipe_hash": "r", "seed": 0} | changes))


def test_the_digest_is_what_standard_tools_say(folder: Path) -> None:
    sealed(folder)
    shell = subprocess.run(SHELL, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    assert payload_digest(folder) == f"sha256:{shell.stdout.split()[0]}"


def test_a_known_digest(tmp_path: Path) -> None:
    """The format is a contract: digests of stored artifacts must not change with the code."""
    (tmp_path / "hello").write_text("hello\n")
    assert payload_digest(tmp_path) == "sha256:2980325dde68dc8e99cdf1176c6b84bd0b566c252c03408e86acfd41d47010f1"


def test_times_permissions_order_and_empty_folders_do_not_count(folder: Path) -> None:
    before = payload_digest(folder)
    os.utime(folder / "b.txt", (0, 0))
    (folder / "b.txt").chmod(0o600)
    (folder / "empty").mkdir()
    (folder / "a-b").rename(folder / "elsewhere")
    (folder / "elsewhere").rename(folder / "a-b")
    assert payload_digest(folder) == before


@pytest.mark.parametrize("change", ["content", "name", "more", "less", "moved"])
def test_everything_else_counts(folder: Path, change: str) -> None:
    before = payload_digest(folder)
    match change:
        case "content":
            (folder / "b.txt").write_text("content of b.txt ")
        case "name":
            (folder / "b.txt").rename(folder / "c.txt")
        case "more":
            (folder / "more").write_text("")
        case "less":
            (folder / "a" / "manifest.json").unlink()  # only the one at the top is no payload
        case "moved":
            (folder / "b.txt").rename(folder / "a" / "b.txt")
    assert payload_digest(folder) != before


def test_a_link_to_a_file_counts_as_the_file(folder: Path, tmp_path: Path) -> None:
    before = payload_digest(folder)
    (folder / "b.txt").rename(tmp_path / "b.txt")
    (folder / "b.txt").symlink_to(tmp_path / "b.txt")
    assert payload_digest(folder) == before


def test_what_cannot_be_counted_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "nothing in this folder"), (tmp_path / "absent", "no such folder")):
        with pytest.raises(InputError, match=message):
            payload_digest(path)
    for name, target, message in (("dangling", "nowhere", "plain files"), ("folder", ".", "links to folders")):
        (folder / name).symlink_to(target)
        with pytest.raises(InputError, match=message):
            payload_digest(folder)
        (folder / name).unlink()
    (folder / "two\nlines").write_text("")
    with pytest.raises(InputError, match="plain names"):
        payload_digest(folder)


def test_a_manifest_reads_back(folder: Path) -> None:
    written = sealed(
        folder, inputs={"b": "2", "a": "1"}, counts={"rows": 3}, metrics={"x": 0.5}, backend={"engine": "e"}
    )
    assert read_manifest(folder) == verify(folder) == written
    assert written.code_version == code_version()
    assert list(json.loads((folder / "manifest.json").read_text())["inputs"]) == ["a", "b"]


def test_sealing_again_after_a_kill_gives_the_same(folder: Path) -> None:
    (folder / "manifest.json.tmp").write_text('{"kind": "data')
    assert sealed(folder) == sealed(folder)


def test_a_changed_payload_is_noticed(folder: Path) -> None:
    sealed(folder)
    (folder / "b.txt").write_text("x")
    with pytest.raises(InputError, match=r"its files changed after its manifest.json was written"):
        verify(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no finished artifact"),
        ("", "cannot be read"),
        ('{"kind": "dataset"', "cannot be read"),
        ('{"kind": "dataset"}', "cannot be read \\(digest"),
        ("[]", "cannot be read"),
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(folder: Path, content: str | None, message: str) -> None:
    if content is not None:
        (folder / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)


def test_the_code_version_starts_with_the_release() -> None:
    release, sources = code_version().split("+")
    assert release.count(".") == 2
    assert len(sources) == 12
