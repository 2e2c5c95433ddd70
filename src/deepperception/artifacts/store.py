"""The content-addressed store: weights and data travel by reference, and are checked on the way in and out."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from deepperception.artifacts.disk import discard, locked, reporting_full_disk, sync
from deepperception.artifacts.manifest import MANIFEST, payload_digest, verify
from deepperception.errors import InfrastructureError, InputError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Ref:
    """Where an artifact lies and what it must contain; written `uri#digest`."""

    uri: str
    digest: str

    def __str__(self) -> str:
        return f"{self.uri}#{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read `uri#sha256:...`; InputError where it is not one."""
        uri, _, digest = text.rpartition("#")
        if not uri or not _DIGEST.fullmatch(digest):
            raise InputError(f"{text}: this is no reference to an artifact; expected URI#sha256:<64 hex digits>.")
        return cls(uri, digest)


@dataclass(frozen=True)
class Swept:
    """An entry that garbage collection removes."""

    digest: str
    size: int
    """In bytes, as listed; links to the same bytes elsewhere keep them on the disk."""


class Store(Protocol):
    """Anything that keeps folders by their digest."""

    def put(self, folder: Path) -> Ref:
        """Keep a copy of the folder; a folder that is there already is not copied again."""
        ...

    def get(self, ref: Ref) -> Path:
        """A local folder with exactly the bytes that `ref` names. Read it, never write to it."""
        ...

    def sweep(self, keep: Collection[str], *, dry_run: bool) -> list[Swept]:
        """Remove what no digest in `keep` names; with `dry_run` only say what that would be."""
        ...


class FolderStore:
    """A store in a folder: `<root>/sha256/<hex>/`, each entry complete from the moment it has that name."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._entries = self.root / "sha256"
        self._incoming = self.root / "incoming"

    def put(self, folder: Path) -> Ref:
        """Keep the folder. Finished artifacts never change, so they are linked where the disk can; others are copied.

        InputError where a finished artifact no longer matches its manifest; InfrastructureError where the copy came
        out different or the disk is full.
        """
        sealed = (folder / MANIFEST).is_file()
        digest = verify(folder).digest if sealed else payload_digest(folder)
        entry = self._entry(digest)
        incoming = self._incoming / entry.name
        with reporting_full_disk(self.root), locked(incoming.with_suffix(".lock"), lambda: None):
            if self._is_intact(digest):
                return self._ref(digest)
            discard(incoming)  # of a put that was killed
            try:
                _copy(folder, incoming, link=sealed)
                if payload_digest(incoming) != digest:
                    raise InfrastructureError(f"{folder}: its copy in {self.root} came out different; check the disk.")
                discard(entry)  # damaged, or it would have been intact
                entry.parent.mkdir(parents=True, exist_ok=True)
                os.rename(incoming, entry)
            except BaseException:
                discard(incoming)  # half a copy would keep a full disk full
                raise
            sync(entry.parent)
        return self._ref(digest)

    def get(self, ref: Ref) -> Path:
        """The entry itself, found by digest, so that a store may be moved.

        InputError where it is not there; InfrastructureError where its bytes are not what they were.
        """
        entry = self._entry(ref.digest)
        if not entry.is_dir():
            raise InputError(
                f"{ref}: the store {self.root} holds no such artifact; check it, or make the artifact again."
            )
        if not self._is_intact(ref.digest):
            raise InfrastructureError(f"{entry}: the stored files are damaged; run the stage that made them again.")
        return entry

    def sweep(self, keep: Collection[str], *, dry_run: bool) -> list[Swept]:
        """Remove the entries that `keep` does not name. An entry leaves its name before its files go."""
        swept = []
        for entry in sorted(self._entries.glob("*")):
            digest = f"sha256:{entry.name}"
            if digest in keep:
                continue
            swept.append(Swept(digest, sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())))
            if not dry_run:
                incoming = self._incoming / entry.name
                with locked(incoming.with_suffix(".lock"), lambda: None):
                    discard(incoming)
                    os.rename(entry, incoming)
                    discard(incoming)
        return swept

    def _entry(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{digest!r} is no digest; expected sha256:<64 hex digits>.")
        return self._entries / digest.removeprefix("sha256:")

    def _is_intact(self, digest: str) -> bool:
        try:
            return payload_digest(self._entry(digest)) == digest
        except InputError:
            return False

    def _ref(self, digest: str) -> Ref:
        return Ref(f"file://{quote(str(self._entry(digest)))}", digest)


def open_store(uri: str) -> Store:
    """The store at a `file://` URI or a path; InputError for any other kind."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file") or parts.netloc:
        raise InputError(f"{uri}: this is no store that can be opened; give file:///PATH or a path.")
    path = unquote(parts.path) if parts.scheme else uri
    if not path:
        raise InputError(f"{uri!r}: the store's path is empty; give file:///PATH or a path.")
    return FolderStore(Path(path))


def resolve(model: str, store: Store | None = None) -> Path:
    """The local folder that `model` names: a path, `package://package.name/folder`, or a reference `URI#sha256:...`.

    A reference is fetched from `store`, or from the store that its URI lies in, and verified.
    """
    if model.startswith("package://"):
        return _in_package(model)
    if model.startswith("hf://"):
        raise InputError(
            f"{model}: only a cluster's import step asks a model hub; here, give the folder of a download."
        )
    if "://" in model:
        ref = Ref.parse(model)
        return (store or _store_of(ref)).get(ref)
    folder = Path(model)
    if not folder.is_dir():
        raise InputError(f"{model}: there is no such folder; give a folder, package://NAME/FOLDER, or URI#sha256:HEX.")
    return folder


def _store_of(ref: Ref) -> Store:
    entry = Path(unquote(urlsplit(ref.uri).path))
    if not ref.uri.startswith("file:///") or entry.parent.name != "sha256":
        raise InputError(
            f"{ref}: this does not point into a folder store; expected file:///STORE/sha256/HEX#sha256:HEX."
        )
    return FolderStore(entry.parent.parent)


def _in_package(model: str) -> Path:
    parts = urlsplit(model)
    try:
        folder = Path(str(importlib.resources.files(parts.netloc).joinpath(*Path(unquote(parts.path)).parts[1:])))
    except (ModuleNotFoundError, ValueError, TypeError):
        raise InputError(f"{model}: there is no package '{parts.netloc}'; expected package://NAME/FOLDER.") from None
    if not folder.is_dir():
        raise InputError(f"{model}: the package '{parts.netloc}' brings no such folder; check the name.")
    return folder


def _copy(folder: Path, target: Path, *, link: bool) -> None:
    """Copy a tree, down to the disk; with `link`, share the bytes where both are on one file system."""

    def place(source: str, destination: str) -> str:
        if link and not os.path.islink(source):
            try:
                os.link(source, destination)
                return destination
            except OSError:  # another file system, or one without links
                pass
        shutil.copyfile(source, destination)
        sync(Path(destination))
        return destination

    shutil.copytree(folder, target, copy_function=place)
    for parent, _, _ in os.walk(target):
        sync(Path(parent))
