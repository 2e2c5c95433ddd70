"""The store in a folder. It is also what an S3 store keeps its local copies in."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from deepperception.artifacts.disk import discard, locked, reporting_full_disk, sync
from deepperception.artifacts.manifest import MANIFEST, payload_digest, verify
from deepperception.artifacts.ref import Ref, Swept, hex_of
from deepperception.errors import InfrastructureError, InputError


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
        self.fill(digest, lambda incoming: _copy(folder, incoming, link=sealed), source=str(folder))
        return Ref(f"file://{quote(str(self._entry(digest)))}", digest)

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

    def fill(
        self,
        digest: str,
        write: Callable[[Path], None],
        *,
        source: str,
        when_waiting: Callable[[], None] = lambda: None,
    ) -> Path:
        """The entry with this digest; where it is not there intact, `write` makes it, in a folder of its own.

        One process at a time: another one waits, and finds the entry there. `source` is what an error names.
        """
        entry = self._entry(digest)
        incoming = self._incoming / entry.name
        with reporting_full_disk(self.root), locked(incoming.with_suffix(".lock"), when_waiting):
            if self._is_intact(digest):
                os.utime(entry)  # garbage collection goes by when it was last asked for
                return entry
            discard(incoming)  # of a process that was killed
            try:
                write(incoming)
                os.utime(incoming)  # a copied folder brings the time of its source
                if payload_digest(incoming) != digest:
                    raise InfrastructureError(f"{source}: its copy in {self.root} came out different; check the disk.")
                discard(entry)  # damaged, or it would have been intact
                entry.parent.mkdir(parents=True, exist_ok=True)
                os.rename(incoming, entry)
            except BaseException:
                discard(incoming)  # half a copy would keep a full disk full
                raise
            sync(entry.parent)
        return entry

    def sweep(
        self,
        keep: Collection[str],
        *,
        dry_run: bool,
        min_age_s: float = 0.0,
        what: Literal["artifact", "cached copy"] = "artifact",
    ) -> list[Swept]:
        """Remove the old entries that `keep` does not name, and what killed puts left. An entry leaves its name before
        its files go."""
        swept = []
        names = {path.name for path in self._entries.glob("*")} | {
            path.name for path in self._incoming.glob("*") if path.is_dir()
        }
        for name in sorted(names):
            entry, incoming, digest = self._entries / name, self._incoming / name, f"sha256:{name}"
            with locked(incoming.with_suffix(".lock"), lambda: None):  # held, no put is at this entry
                if incoming.is_dir():
                    swept.append(Swept(digest, _size(incoming), "leftover"))
                    if not dry_run:
                        discard(incoming)
                if digest in keep or not entry.is_dir() or time.time() - entry.stat().st_mtime < min_age_s:
                    continue
                swept.append(Swept(digest, _size(entry), what))
                if not dry_run:
                    os.rename(entry, incoming)
                    discard(incoming)
        return swept

    def check(self) -> None:
        """Write, read and remove a few bytes; InputError where the folder cannot be written to or is full."""
        try:
            with reporting_full_disk(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self.root) as file:
                    file.write(b"\0" * 4096)
                    file.flush()
        except OSError as error:
            raise InputError(f"{self.root}: the store cannot be written to ({error.strerror}); mend it.") from None

    def _entry(self, digest: str) -> Path:
        return self._entries / hex_of(digest)

    def _is_intact(self, digest: str) -> bool:
        try:
            return payload_digest(self._entry(digest)) == digest
        except InputError:
            return False


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
