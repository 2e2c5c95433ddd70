"""Opening stores, and finding what a reference names: weights and data travel by reference."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deepperception.artifacts.folder_store import FolderStore
from deepperception.artifacts.ref import Ref, Store
from deepperception.artifacts.s3_settings import S3Settings
from deepperception.errors import InputError
from deepperception.progress import Progress


def open_store(uri: str, s3: S3Settings | None = None, progress: Progress | None = None) -> Store:
    """The store at a path, `file:///PATH` or `s3://BUCKET/PREFIX`; InputError for any other kind.

    `s3` says where the bucket's server is; without it the environment does. Nothing is asked of the server yet.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return _open_s3(uri, s3, progress)
    if parts.scheme not in ("", "file") or parts.netloc:
        raise InputError(
            f"{uri}: this is no store that can be opened; give file:///PATH or a path, or s3://BUCKET/PREFIX."
        )
    path = unquote(parts.path) if parts.scheme else uri
    if not path:
        raise InputError(f"{uri!r}: the store's path is empty; give file:///PATH or a path.")
    return FolderStore(Path(path))


def resolve(model: str, store: Store | None = None, s3: S3Settings | None = None) -> Path:
    """The local folder that `model` names: a path, `package://package.name/folder`, or a reference `URI#sha256:...`.

    A reference is fetched from `store`, or from the one that its URI lies in (`s3` as for `open_store`), and verified.
    """
    if model.startswith("package://"):
        return _in_package(model)
    if model.startswith("hf://"):
        raise InputError(
            f"{model}: only a cluster's import step asks a model hub; here, give the folder of a download."
        )
    if "://" in model:
        ref = Ref.parse(model)
        return (store or _store_of(ref, s3)).get(ref)
    folder = Path(model)
    if not folder.is_dir():
        raise InputError(f"{model}: there is no such folder; give a folder, package://NAME/FOLDER, or URI#sha256:HEX.")
    return folder


def _open_s3(uri: str, s3: S3Settings | None, progress: Progress | None) -> Store:
    from deepperception.artifacts.s3 import S3Store  # the client's import takes a while, and most runs need none

    # Taken as it is: a bucket's keys know no %-escapes.
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix.strip("/"), s3 or S3Settings.from_environment(), progress or Progress("store"))


def _store_of(ref: Ref, s3: S3Settings | None) -> Store:
    parent, _, entry = ref.uri.rstrip("/").rpartition("/")
    root, _, kind = parent.rpartition("/")
    if not ref.uri.startswith(("file:///", "s3://")) or kind != "sha256" or not entry:
        raise InputError(f"{ref}: this does not point into a store; expected STORE/sha256/HEX#sha256:HEX.")
    return open_store(root, s3)


def _in_package(model: str) -> Path:
    parts = urlsplit(model)
    try:
        folder = Path(str(importlib.resources.files(parts.netloc).joinpath(*Path(unquote(parts.path)).parts[1:])))
    except (ModuleNotFoundError, ValueError, TypeError):
        raise InputError(f"{model}: there is no package '{parts.netloc}'; expected package://NAME/FOLDER.") from None
    if not folder.is_dir():
        raise InputError(f"{model}: the package '{parts.netloc}' brings no such folder; check the name.")
    return folder
