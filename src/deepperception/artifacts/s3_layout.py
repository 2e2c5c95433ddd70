"""How entries lie in a bucket, and the index that makes one complete.

    <prefix>/sha256/<hex>/<file>    the files of an entry
    <prefix>/sha256/<hex>.json      its index: what the files must be, and the manifest. Written last
    <prefix>/removing/<hex>         garbage collection is at this entry

The index lies beside the entry, so that no file of an artifact can have its name, and holds the manifest, so that two
processes that put the same payload under different manifests cannot mix them.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, ValidationError

from deepperception.artifacts.manifest import MANIFEST, Manifest, digest_of
from deepperception.artifacts.ref import DIGEST, hex_of
from deepperception.artifacts.s3_bucket import Bucket
from deepperception.settings import Settings

ENTRIES, REMOVING = "sha256/", "removing/"


class Stored(Settings):
    """One file of an entry."""

    size: int = Field(ge=0, description="In bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    etag: str = Field(description="The server's name for the bytes: an overwritten object shows without a download.")


class Index(Settings):
    """What the files of an entry must be."""

    format: Literal[1] = 1
    digest: str
    files: dict[str, Stored]
    manifest: str | None = Field(description="Text of the artifact's manifest, where it is a finished one.")

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(file.size for file in self.files.values())


def entry_of(digest: str) -> str:
    """Name of the entry, without a slash at its end."""
    return ENTRIES + hex_of(digest)


def index_of(digest: str) -> str:
    """Name of the entry's index."""
    return f"{entry_of(digest)}.json"


def file_of(digest: str, path: str) -> str:
    """Name of a file of the entry."""
    return f"{entry_of(digest)}/{path}"


def mark_of(digest: str) -> str:
    """Name of the object that is there while a collector is at the entry."""
    return REMOVING + hex_of(digest)


def digest_at(name: str) -> str | None:
    """The digest of the entry that an object below `sha256/` is of; None where somebody else put it there."""
    digest = f"sha256:{name.removeprefix(ENTRIES).partition('/')[0].removesuffix('.json')}"
    return digest if DIGEST.fullmatch(digest) else None


def read_index(bucket: Bucket, digest: str) -> Index | None:
    """None where there is none, or one that does not say what `digest` says."""
    content = bucket.read(index_of(digest))
    if content is None:
        return None
    try:
        index = Index.model_validate_json(content)
        sealed_as = None if index.manifest is None else Manifest.model_validate_json(index.manifest).digest
    except ValidationError:
        return None
    is_own = digest_of({path: file.sha256 for path, file in index.files.items()}) == digest == index.digest
    return index if is_own and sealed_as in (None, digest) and all(map(_stays_inside, index.files)) else None


def read_complete(bucket: Bucket, digest: str) -> Index | None:
    """The index, where all of its objects are there as they were written."""
    index = read_index(bucket, digest)
    if index is None:
        return None
    there = {found.name: (found.size, found.etag) for found in bucket.list(file_of(digest, ""))}
    same = all(there.get(file_of(digest, path)) == (file.size, file.etag) for path, file in index.files.items())
    return index if same else None


def _stays_inside(path: str) -> bool:
    plain = PurePosixPath(path)
    return not plain.is_absolute() and ".." not in plain.parts and path != MANIFEST
