"""The manifest: written last, so that its presence says a folder is finished, and its digest says what is in it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

import deepperception
from deepperception.artifacts.disk import TEMPORARY_SUFFIX, sync, write_text
from deepperception.errors import InputError
from deepperception.settings import Settings

MANIFEST = "manifest.json"
_NOT_PAYLOAD = (MANIFEST, MANIFEST + TEMPORARY_SUFFIX)
_BLOCK = 1 << 20


class Manifest(Settings):
    """What an artifact is, what it was made from, and by what."""

    kind: str = Field(description="dataset, model, evaluation, promotion or report.")
    digest: str = Field(pattern="^sha256:[0-9a-f]{64}$", description="Of the payload; see payload_digest.")
    inputs: dict[str, str] = Field(description="Digest of each input, by name.")
    recipe_hash: str = Field(description="Of the recipe's sections that the stage reads.")
    seed: int
    code_version: str = Field(description="Release, then a digest of the package's sources.")
    backend: dict[str, Any] = Field(default_factory=dict, description="Engine, versions, number formats.")
    counts: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)


def payload_digest(folder: Path) -> str:
    """`sha256:<hex>` over the sorted (path, sha256 of the file) of everything but the manifest.

    The same as this, run in the folder (times, permissions, links and empty folders do not count):

        find * -type f ! -path manifest.json | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum

    InputError where the folder is missing or empty, or holds what has no bytes to count.
    """
    return digest_of(file_digests(folder))


def file_digests(folder: Path, *, synced: bool = False) -> dict[str, str]:
    """Path within the folder -> sha256 (hex) of each file of the payload, in the order that counts for its digest.

    With `synced`, the files and their names are on the disk afterwards. InputError as for `payload_digest`.
    """
    names = sorted(_payload(folder), key=os.fsencode)
    if not names:
        raise InputError(f"{folder}: there is nothing in this folder; give one that holds an artifact's files.")
    digests = {name: _file_digest(folder / name, synced=synced) for name in names}
    if synced:
        for parent, _, _ in os.walk(folder):
            sync(Path(parent))
    return digests


def digest_of(files: Mapping[str, str]) -> str:
    """The payload digest of files of these (path, sha256 in hex)."""
    lines = hashlib.sha256()
    for name in sorted(files, key=os.fsencode):
        lines.update(f"{files[name]}  ".encode() + os.fsencode(name) + b"\n")
    return f"sha256:{lines.hexdigest()}"


def seal(
    folder: Path,
    *,
    kind: str,
    inputs: Mapping[str, str],
    recipe_hash: str,
    seed: int,
    backend: Mapping[str, Any] | None = None,
    counts: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Manifest:
    """Declare the folder finished: its files reach the disk first, then the manifest appears, whole."""
    manifest = Manifest(
        kind=kind,
        digest=digest_of(file_digests(folder, synced=True)),
        inputs=dict(sorted(inputs.items())),
        recipe_hash=recipe_hash,
        seed=seed,
        code_version=code_version(),
        backend=dict(backend or {}),
        counts=dict(counts or {}),
        metrics=dict(metrics or {}),
    )
    write_text(folder / MANIFEST, json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False) + "\n")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished artifact; InputError where there is none, or it cannot be understood."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder}: this is no finished artifact (no {MANIFEST}); give one that a stage wrote."
        ) from None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(
            f"{path}: the manifest cannot be read ({_first_line(error)}); remove the folder and make it again."
        ) from None


def verify(folder: Path) -> Manifest:
    """Read the manifest and check the payload against it; InputError where a file changed since."""
    manifest = read_manifest(folder)
    if payload_digest(folder) != manifest.digest:
        raise InputError(f"{folder}: its files changed after its {MANIFEST} was written; make the artifact again.")
    return manifest


@functools.cache
def code_version() -> str:
    """`0.1.0+<12 hex digits>`: the release, and a digest of the package's Python sources (no git needed)."""
    sources = hashlib.sha256()
    for root in sorted(Path(path) for path in deepperception.__path__):
        for file in sorted(root.rglob("*.py")):
            sources.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return f"{release()}+{sources.hexdigest()[:12]}"


def release() -> str:
    """The installed release of the package."""
    return metadata.version("deepperception")


def _payload(folder: Path) -> Iterator[str]:
    """Paths of the payload's files, relative to the folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the folder of an artifact.")
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in folders:
            if (Path(parent) / name).is_symlink():
                raise InputError(f"{Path(parent) / name}: links to folders cannot be kept; copy the folder there.")
        for name in files:
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if relative in _NOT_PAYLOAD:
                continue
            if "\n" in relative or "\\" in relative or not path.is_file():
                raise InputError(f"{str(path)!r}: only plain files with plain names can be kept; rename or remove it.")
            yield relative


def _raise(error: OSError) -> None:
    raise error


def _file_digest(path: Path, *, synced: bool) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
        if synced:
            os.fsync(file.fileno())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, fault['loc'])) or 'the whole file'}: {fault['msg']}"
    return str(error).splitlines()[0]
