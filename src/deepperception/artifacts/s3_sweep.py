"""Garbage collection in a bucket, beside puts that may be at work."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from deepperception.artifacts.ref import Swept
from deepperception.artifacts.s3_bucket import Bucket, Object, Upload
from deepperception.artifacts.s3_layout import ENTRIES, REMOVING, digest_at, index_of, mark_of

MARK_STALE_S = 600.0
"""Removing an entry takes seconds; a mark this old was left by a collector that died."""


def sweep_bucket(
    bucket: Bucket, keep: Collection[str], *, dry_run: bool, min_age_s: float, leftover_age_s: float
) -> Iterator[Swept]:
    """Remove old entries that `keep` does not name, and what cut-off puts left; yields each once it is gone."""
    for mark in bucket.list(REMOVING):
        if not dry_run and age_s(mark.modified) > MARK_STALE_S:
            bucket.remove(mark.name)
    for digest, found in sorted(_contents(bucket).items()):
        if found.index is None:
            if found.newest_age_s >= leftover_age_s and (dry_run or _remove(bucket, digest, found)):
                yield Swept(digest, found.size, "leftover")
        elif digest not in keep and age_s(found.index.modified) >= min_age_s:
            if dry_run or _remove(bucket, digest, found):
                yield Swept(digest, found.size)
        elif stale := [upload for upload in found.uploads if age_s(upload.begun) >= leftover_age_s]:
            if not dry_run:
                _abort(bucket, stale)
            yield Swept(digest, 0, "leftover")


def age_s(moment: datetime) -> float:
    """By this machine's clock; what a server's clock dates into the future is new."""
    return max((datetime.now(UTC) - moment).total_seconds(), 0.0)


@dataclass
class _Found:
    """What a listing shows of one entry."""

    index: Object | None = None
    files: list[Object] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(each.size for each in self.files)

    @property
    def newest_age_s(self) -> float:
        return min(age_s(moment) for moment in [f.modified for f in self.files] + [u.begun for u in self.uploads])


def _contents(bucket: Bucket) -> dict[str, _Found]:
    """By digest, all that is below `sha256/`."""
    contents: dict[str, _Found] = {}
    for each in bucket.list(ENTRIES):
        if digest := digest_at(each.name):
            found = contents.setdefault(digest, _Found())
            if each.name == index_of(digest):
                found.index = each
            else:
                found.files.append(each)
    for upload in bucket.uploads(ENTRIES):
        if digest := digest_at(upload.name):
            contents.setdefault(digest, _Found()).uploads.append(upload)
    return contents


def _remove(bucket: Bucket, digest: str, found: _Found) -> bool:
    """Remove an entry, its index first; False where it was put since it was listed.

    A put writes the index, then looks for the mark; a collector writes the mark, then looks at the index. Whatever
    comes first, one of them sees the other.
    """
    bucket.write(mark_of(digest), b"")
    try:
        now = next(iter(bucket.list(index_of(digest))), None)
        if (now and now.modified) != (found.index and found.index.modified):
            return False
        if now:
            bucket.remove(now.name)
        _abort(bucket, found.uploads)
        for each in found.files:
            bucket.remove(each.name)
    finally:
        bucket.remove(mark_of(digest))
    return True


def _abort(bucket: Bucket, uploads: list[Upload]) -> None:
    for upload in uploads:
        bucket.abort(upload)
