"""What every store keeps to: references, and the protocol of putting, getting and sweeping."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from deepperception.errors import InputError

DAY_S = 86_400.0
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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
        if not uri or not DIGEST.fullmatch(digest):
            raise InputError(f"{text}: this is no reference to an artifact; expected URI#sha256:<64 hex digits>.")
        return cls(uri, digest)


def hex_of(digest: str) -> str:
    """The name that an entry has in a store; InputError where `digest` is none."""
    if not DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} is no digest; expected sha256:<64 hex digits>.")
    return digest.removeprefix("sha256:")


@dataclass(frozen=True)
class Swept:
    """Something that garbage collection removes."""

    digest: str
    size: int
    """In bytes, as listed; links to the same bytes elsewhere keep them on the disk."""
    what: Literal["artifact", "leftover", "cached copy"] = "artifact"
    """A leftover is what a put that was cut off had written; nobody can read it."""


class Store(Protocol):
    """Anything that keeps folders by their digest."""

    def put(self, folder: Path) -> Ref:
        """Keep a copy of the folder; a folder that is there already is not copied again."""
        ...

    def get(self, ref: Ref) -> Path:
        """A local folder with exactly the bytes that `ref` names. Read it, never write to it."""
        ...

    def sweep(self, keep: Collection[str], *, dry_run: bool, min_age_s: float = 0.0) -> list[Swept]:
        """Remove what no digest in `keep` names and nobody has put for `min_age_s`; and leftovers.

        With `dry_run` only say what that would be. A put at the same time wins: what it returned stays.
        """
        ...

    def check(self) -> None:
        """Write, read and remove a few bytes; raises what a put would raise, in one sentence."""
        ...
