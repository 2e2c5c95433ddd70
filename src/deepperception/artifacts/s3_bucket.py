"""The objects of one bucket, below one prefix: whole files up and down, and every failure in one sentence."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar, cast
from xml.etree import ElementTree

import certifi
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from minio.helpers import check_bucket_name
from urllib3.exceptions import HTTPError

from deepperception.artifacts.patience import Patience, PatientPool
from deepperception.artifacts.s3_refusals import refusal
from deepperception.artifacts.s3_settings import MIB, S3Settings, credentials
from deepperception.errors import InfrastructureError, InputError

_CONNECT_S, _READ_S = 10.0, 60.0
_PARTS_AT_ONCE = 3
_MOST_PARTS = 10_000  # of one object: the protocol's limit
_UPLOAD_ATTEMPTS = 3
_SHA256 = "x-amz-meta-sha256"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Object:
    """One object, as listed."""

    name: str
    """Below the prefix."""
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Upload:
    """A file that is being sent in parts, or was when its sender died."""

    name: str
    """Below the prefix."""
    upload_id: str
    begun: datetime


class Differs(Exception):
    """An object is not as long, or not what, it should be."""


def _reporting(action: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Turn what the server refused into one sentence: that its user may not, or it could not, do `action`."""

    def wrap(method: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(method)
        def reported(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return method(*args, **kwargs)
            except (MinioException, ElementTree.ParseError) as error:
                bucket = cast(Bucket, args[0])
                raise refusal(error, action, bucket.name, bucket.uri(""), bucket.endpoint) from error

        return reported

    return wrap


class Bucket:
    """Objects by their names below `prefix`. Requests wait for a server that is down; see Patience."""

    def __init__(self, name: str, prefix: str, settings: S3Settings, patience: Patience) -> None:
        """InputError where the bucket's name, the endpoint or the CA file cannot be, or credentials are missing."""
        try:
            check_bucket_name(name, strict=True)
        except ValueError as error:
            raise InputError(f"s3://{name}: this cannot be a bucket ({error}); give s3://BUCKET/PREFIX.") from None
        self.name, self.endpoint, self._patience, self._settings = name, settings.endpoint, patience, settings
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _connect(settings, patience)

    def uri(self, name: str) -> str:
        """What the object is called everywhere."""
        return f"s3://{self.name}/{self._prefix}{name}"

    @_reporting("read objects")
    def read(self, name: str) -> bytes | None:
        """The bytes of a small object; None where it is not there."""

        def whole() -> bytes:
            response = self._client.get_object(self.name, self._prefix + name)
            with contextlib.closing(response):
                return response.read()

        try:
            return self._patience.attempt(whole)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise

    @_reporting("write objects")
    def write(self, name: str, content: bytes) -> None:
        """Make a small object, or replace it; it is there whole or it is as it was."""
        self._client.put_object(self.name, self._prefix + name, io.BytesIO(content), len(content))

    @_reporting("write objects")
    def upload(self, path: Path, name: str, *, size: int, sha256: str, moved: Callable[[int], None]) -> str:
        """Send a file, in parts where it is large; its sha256 travels with it. Returns the etag.

        `moved` is told of bytes on their way. InputError where the file is no longer what `size` and `sha256` say:
        nothing is kept of it then.
        """
        for _ in range(_UPLOAD_ATTEMPTS):
            with path.open("rb") as file:
                try:
                    self._client.put_object(
                        self.name,
                        self._prefix + name,
                        cast(BinaryIO, _Checked(file, path, size, sha256, moved)),
                        size,
                        metadata={_SHA256: sha256},
                        part_size=max(self._settings.part_mib * MIB, -(-size // _MOST_PARTS)),
                        num_parallel_uploads=_PARTS_AT_ONCE,
                    )
                except S3Error as error:
                    # The server put the parts together and went down before it could say so; or it lost them.
                    if error.code != "NoSuchUpload":
                        raise
            # Asked for, because not every server's answer to the last part brings the etag that it lists.
            if etag := self.holds(name, size=size, sha256=sha256):
                return etag
        raise InfrastructureError(f"{self.uri(name)}: the S3 server loses uploads half-way; have a look at its log.")

    @_reporting("read objects")
    def holds(self, name: str, *, size: int, sha256: str) -> str | None:
        """The etag of an object that `upload` made of this very file; None where it is not there, or another."""
        try:
            found = self._client.stat_object(self.name, self._prefix + name)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        same = found.size == size and (found.metadata or {}).get(_SHA256) == sha256
        return str(found.etag) if same else None

    @_reporting("read objects")
    def download(self, name: str, path: Path, *, size: int, sha256: str, moved: Callable[[int], None]) -> None:
        """Fetch an object into a new file, going on where a connection broke; Differs where it is another."""
        digest, done = hashlib.sha256(), 0
        with path.open("wb") as file:

            def go_on() -> None:
                nonlocal done
                before = done
                response = self._client.get_object(self.name, self._prefix + name, offset=done)
                with contextlib.closing(response):
                    try:
                        for block in response.stream(MIB):
                            file.write(block)
                            digest.update(block)
                            done += len(block)
                            moved(len(block))
                            if done > size:
                                raise Differs
                    except HTTPError:
                        if done == before:  # otherwise the server is well enough: ask for the rest
                            raise
                        return
                if done == before:
                    raise Differs

            try:
                while done < size:
                    self._patience.attempt(go_on)
            except S3Error as error:
                if error.code in ("NoSuchKey", "InvalidRange"):
                    raise Differs from None
                raise
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise Differs

    @_reporting("list objects")
    def list(self, folder: str) -> Sequence[Object]:
        """All objects below a folder (`sha256/`), by name."""
        found = self._client.list_objects(self.name, prefix=self._prefix + folder, recursive=True)
        return [
            Object(self._below(each.object_name), each.size or 0, each.etag or "", each.last_modified)
            for each in found
            if each.object_name and each.last_modified
        ]

    @_reporting("delete objects")
    def remove(self, name: str) -> None:
        """Delete an object; one that is not there is as good."""
        self._client.remove_object(self.name, self._prefix + name)

    @_reporting("list unfinished uploads")
    def uploads(self, folder: str) -> Sequence[Upload]:
        """The uploads in parts that are not finished, below a folder."""
        # The client finishes and aborts its own uploads only; for those of the dead it has no public call.
        found = []
        after: str | None = None
        while True:
            page = self._client._list_multipart_uploads(self.name, prefix=self._prefix + folder, key_marker=after)
            for each in page.uploads:
                if each.upload_id and each.initiated_time:
                    found.append(Upload(self._below(each.object_name), each.upload_id, each.initiated_time))
            after = page.next_key_marker
            if not page.is_truncated or not after:
                return found

    @_reporting("delete unfinished uploads")
    def abort(self, upload: Upload) -> None:
        """Delete the parts of an unfinished upload."""
        try:
            self._client._abort_multipart_upload(self.name, self._prefix + upload.name, upload.upload_id)
        except S3Error as error:
            if error.code != "NoSuchUpload":
                raise

    def _below(self, key: str) -> str:
        return key.removeprefix(self._prefix)


class _Checked(io.RawIOBase):
    """A file on its way out: its last byte is handed over only if all of them were what was announced."""

    def __init__(self, file: BinaryIO, path: Path, size: int, sha256: str, moved: Callable[[int], None]) -> None:
        self._file, self._path, self._left, self._sha256, self._moved = file, path, size, sha256, moved
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        self._left -= len(block)
        ends = not block or self._left <= 0
        if ends and (self._left > 0 or self._digest.hexdigest() != self._sha256):
            raise InputError(f"{self._path}: the file changed while it was being stored; store it when it is finished.")
        self._moved(len(block))
        return block


def _connect(settings: S3Settings, patience: Patience) -> Minio:
    access_key, secret_key, session_token = credentials()
    authority = settings.ca_file or os.environ.get("SSL_CERT_FILE") or certifi.where()
    if not Path(authority).is_file():
        raise InputError(f"{authority}: there is no such file; give the PEM of the server's authority as s3.ca_file.")
    scheme, _, host = settings.endpoint.partition("://")
    pool = PatientPool(
        patience,
        timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
        maxsize=_PARTS_AT_ONCE + 1,
        cert_reqs="CERT_REQUIRED",
        ca_certs=str(authority),
    )
    try:
        client = Minio(
            host,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            secure=scheme == "https",
            region=settings.region,
            http_client=pool,
        )
    except ValueError as error:
        raise InputError(
            f"{settings.endpoint}: this cannot be an S3 endpoint ({error}); correct s3.endpoint."
        ) from None
    if settings.path_style:
        client.disable_virtual_style_endpoint()
    else:
        client.enable_virtual_style_endpoint()
    return client
