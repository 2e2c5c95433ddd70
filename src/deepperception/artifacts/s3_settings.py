"""Where an S3 server is, and how patient to be with it: the `s3` section of an infra file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, field_validator

from deepperception.errors import InputError
from deepperception.settings import Settings, parse

MIB = 1 << 20


class Credentials(NamedTuple):
    """Of one S3 user; never printed, never written."""

    access_key: str
    secret_key: str
    session_token: str | None

    def __repr__(self) -> str:
        return "Credentials(...)"


class S3Settings(Settings):
    """A server that speaks S3. Its credentials come from the environment, see `credentials`."""

    endpoint: str = Field(description="http://HOST:PORT or https://HOST.")
    region: str = Field(default="us-east-1", min_length=1, description="Part of every signature.")
    path_style: bool = Field(
        default=True, description="http://HOST/BUCKET/KEY, as most servers want; http://BUCKET.HOST/KEY otherwise."
    )
    ca_file: Path | None = Field(default=None, description="PEM of the authority behind https, where it is your own.")
    patience_s: float = Field(
        default=180.0,
        ge=0,
        le=840,
        description="How long a request is tried again while the server is down. Signatures are good for 900 s.",
    )
    part_mib: int = Field(
        default=64, ge=5, le=1024, description="Of a file that is sent in parts; three parts are held in memory."
    )
    cache_dir: Path | None = Field(
        default=None, description="What was fetched is kept here; by default in the user's own cache folder."
    )

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str) -> str:
        scheme, _, host = endpoint.rstrip("/").partition("://")
        if scheme not in ("http", "https") or not host or "/" in host or "@" in host:
            raise ValueError("expected http://HOST:PORT or https://HOST, with nothing after it")
        return f"{scheme}://{host}"

    @classmethod
    def from_environment(cls) -> S3Settings:
        """For a command without an infra file, from the variables that AWS's own tools read.

        AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION or AWS_DEFAULT_REGION, AWS_CA_BUNDLE. InputError where no
        endpoint is known.
        """
        endpoint = _variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        if not endpoint:
            raise InputError(
                "no S3 endpoint is known; give s3.endpoint in the infra file, or set AWS_ENDPOINT_URL to http://HOST:PORT."
            )
        given = {
            "endpoint": endpoint,
            "region": _variable("AWS_REGION", "AWS_DEFAULT_REGION"),
            "ca_file": _variable("AWS_CA_BUNDLE"),
        }
        return parse({key: value for key, value in given.items() if value}, cls, where="AWS_ENDPOINT_URL")

    def cache_folder(self) -> Path:
        """Where what was fetched is kept on this machine."""
        return (
            self.cache_dir or Path(_variable("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepperception" / "store"
        )


def credentials() -> Credentials:
    """From AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where there is one, AWS_SESSION_TOKEN; InputError without."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    access_key, secret_key = (os.environ.get(name, "").strip() for name in names)
    if absent := [name for name, value in zip(names, (access_key, secret_key), strict=True) if not value]:
        raise InputError(f"the environment lacks {' and '.join(absent)}; set the key of a user of the S3 store.")
    return Credentials(access_key, secret_key, _variable("AWS_SESSION_TOKEN"))


def _variable(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)
