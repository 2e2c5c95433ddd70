"""The store in an S3 bucket: what is there is complete, and sent once; what was fetched is kept on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deepperception.artifacts.disk import sync, write_text
from deepperception.artifacts.folder_store import FolderStore
from deepperception.artifacts.manifest import MANIFEST, digest_of, file_digests, read_manifest
from deepperception.artifacts.patience import Patience
from deepperception.artifacts.ref import DAY_S, Ref, Swept
from deepperception.artifacts.s3_bucket import Bucket, Differs
from deepperception.artifacts.s3_layout import (
    Index,
    Stored,
    entry_of,
    file_of,
    index_of,
    mark_of,
    read_complete,
    read_index,
)
from deepperception.artifacts.s3_settings import S3Settings
from deepperception.artifacts.s3_sweep import MARK_STALE_S, sweep_bucket
from deepperception.errors import InfrastructureError, InputError
from deepperception.progress import Progress

_PUT_ATTEMPTS = 3
_POLL_S = 1.0
_MB = 1_000_000
_SAID_BYTES = 64 * _MB


class S3Store:
    """A store below a prefix of a bucket; s3_layout says how entries lie there."""

    def __init__(
        self, bucket: str, prefix: str, settings: S3Settings, progress: Progress, *, leftover_age_s: float = DAY_S
    ) -> None:
        """Nothing is asked of the server yet. InputError where the settings cannot be right or credentials are missing.

        `leftover_age_s`: a sweep takes an unfinished entry for a put at work until its newest piece is this old.
        """
        self._progress, self._leftover_age_s = progress, leftover_age_s
        self._bucket = Bucket(bucket, prefix, settings, Patience(settings.endpoint, settings.patience_s, progress.say))
        self._cache = FolderStore(settings.cache_folder())

    def put(self, folder: Path) -> Ref:
        """Upload the folder. Files that are there already, of this put or of one that was killed, are not sent again.

        InputError where a finished artifact no longer matches its manifest, a file changes meanwhile, or the server
        refuses; InfrastructureError where it is down for too long.
        """
        files = file_digests(folder)
        if strange := next((name for name in files if not _is_text(name)), None):
            raise InputError(f"{folder}: the file name {strange!r} is no UTF-8, which S3 wants; rename the file.")
        digest, manifest = digest_of(files), _manifest_text(folder)
        if manifest is not None and read_manifest(folder).digest != digest:
            raise InputError(f"{folder}: its files changed after its {MANIFEST} was written; make the artifact again.")
        for _ in range(_PUT_ATTEMPTS):
            index = read_complete(self._bucket, digest) or self._upload(folder, digest, files, manifest)
            # Written even where it was there: garbage collection goes by when an entry was last put.
            self._bucket.write(index_of(digest), index.model_dump_json().encode())
            self._await_collector(digest)
            # No collector begins on an entry with a new index; but one that began before may have taken files away.
            if read_complete(self._bucket, digest):
                return Ref(self._bucket.uri(entry_of(digest)), digest)
        raise InfrastructureError(f"{self._bucket.uri(entry_of(digest))}: somebody else keeps changing these objects.")

    def get(self, ref: Ref) -> Path:
        """A local copy, found by digest, so that a store may be moved; it is fetched once.

        InputError where it is not there or not complete; InfrastructureError where its bytes are not what they were.
        """
        return self._cache.fill(
            ref.digest,
            lambda incoming: self._download(ref.digest, incoming),
            source=str(ref),
            when_waiting=lambda: self._progress.say(f"waiting: another process is fetching {ref.digest}"),
        )

    def sweep(self, keep: Collection[str], *, dry_run: bool, min_age_s: float = 0.0) -> list[Swept]:
        """Remove old entries that `keep` does not name, what cut-off puts left, and old copies on this machine."""
        gone = sweep_bucket(
            self._bucket, keep, dry_run=dry_run, min_age_s=min_age_s, leftover_age_s=self._leftover_age_s
        )
        # A copy may be in use, and can be fetched again: only its age counts.
        copies = self._cache.sweep((), dry_run=dry_run, min_age_s=max(min_age_s, DAY_S), what="cached copy")
        return [*gone, *copies]

    def check(self) -> None:
        """Write, list, read and remove a few bytes; raises what a put or a get would raise, in one sentence."""
        name, content = f"check/{time.time_ns()}", b"deepperception"
        self._bucket.write(name, content)
        listed = [found.name for found in self._bucket.list(name)]
        read = self._bucket.read(name)
        self._bucket.remove(name)
        if read != content or listed != [name]:
            raise InfrastructureError(f"{self._bucket.uri(name)}: the store does not give back what was just written.")

    def _upload(self, folder: Path, digest: str, files: Mapping[str, str], manifest: str | None) -> Index:
        sizes = {path: (folder / path).stat().st_size for path in files}
        there = {found.name for found in self._bucket.list(file_of(digest, ""))}
        stored = {}
        with self._bar("upload", digest, sum(sizes.values())) as moved:
            for path, sha256 in files.items():
                name, size = file_of(digest, path), sizes[path]
                etag = self._bucket.holds(name, size=size, sha256=sha256) if name in there else None
                if etag:
                    moved(size)
                else:
                    etag = self._bucket.upload(folder / path, name, size=size, sha256=sha256, moved=moved)
                stored[path] = Stored(size=size, sha256=sha256, etag=etag)
        return Index(digest=digest, files=stored, manifest=manifest)

    def _await_collector(self, digest: str) -> None:
        for waited in range(int(MARK_STALE_S / _POLL_S)):
            if not self._bucket.list(mark_of(digest)):
                return
            if not waited:
                self._progress.say(f"waiting: garbage collection is at {digest}")
            time.sleep(_POLL_S)
        self._bucket.remove(mark_of(digest))  # it died

    def _download(self, digest: str, incoming: Path) -> None:
        index, entry = read_index(self._bucket, digest), self._bucket.uri(entry_of(digest))
        if index is None:
            raise InputError(f"{entry}: the store holds no such artifact, or not all of it; make the artifact again.")
        incoming.mkdir(parents=True)
        with self._bar("download", digest, index.size) as moved:
            for path, file in index.files.items():
                target = incoming / path
                target.parent.mkdir(parents=True, exist_ok=True)
                name = file_of(digest, path)
                try:
                    self._bucket.download(name, target, size=file.size, sha256=file.sha256, moved=moved)
                except Differs:
                    raise InfrastructureError(
                        f"{entry}/{path}: the stored object is damaged; "
                        f"delete {entry}/ and {entry}.json, then run the stage that made it again."
                    ) from None
        if index.manifest is not None:
            write_text(incoming / MANIFEST, index.manifest)
        for folder in {path.parent for path in incoming.rglob("*")}:
            sync(folder)

    @contextmanager
    def _bar(self, action: str, digest: str, size: int) -> Iterator[Callable[[int], None]]:
        """Gives what is to be told of moved bytes; a transfer that is over at once is not worth a bar."""
        if size < _SAID_BYTES:
            yield lambda _: None
            return
        moved = 0
        with self._progress.track(size // _MB, f"{action} {digest[:19]}, MB") as bar:

            def advance(count: int) -> None:
                nonlocal moved
                steps = (moved + count) // _MB - moved // _MB
                moved += count
                if steps:
                    bar.advance(steps)

            yield advance


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that the file system let pass
        return False
    return True


def _manifest_text(folder: Path) -> str | None:
    path = folder / MANIFEST
    return path.read_text(encoding="utf-8") if path.is_file() else None
