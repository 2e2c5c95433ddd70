"""A teacher's replies, kept as they come, so that a run that was cut off does not ask, and pay, for them again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from deepperception.artifacts.disk import write_text
from deepperception.inference.engine import Decoding, Request


class Replies:
    """A file with a line for each reply; a line that a kill cut short counts for nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, str] = {}
        if path is not None and path.is_file():
            whole, _, cut_off = path.read_bytes().rpartition(b"\n")
            if cut_off:
                write_text(path, f"{whole.decode()}\n" if whole else "")
            self._known = dict(json.loads(line) for line in whole.splitlines())

    def of(self, request: Request, decoding: Decoding) -> str | None:
        """The reply that was given to this very question about this very picture; None where it was never asked."""
        return self._known.get(_key(request, decoding))

    def keep(self, request: Request, decoding: Decoding, reply: str) -> None:
        """Remember a reply, on the disk before anything is made of it."""
        if self.path is None:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([_key(request, decoding), reply]) + "\n")


def _key(request: Request, decoding: Decoding) -> str:
    asked = (request.text, request.seed, decoding.max_new_tokens, decoding.temperature, decoding.seed)
    return hashlib.sha256(repr(asked).encode() + request.image).hexdigest()
