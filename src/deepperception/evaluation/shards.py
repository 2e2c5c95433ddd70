"""Parts of a benchmark that are asked apart: by several GPUs, or by the pods of an indexed Job."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from deepperception.errors import InputError


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `of`, counted from 0, as an indexed Job counts its pods."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From `3/8`; InputError for anything that is no part of a whole."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        if not found or not int(found[1]) < int(found[2]):
            raise InputError(f"--shard {text}: expected i/n with i from 0 to n - 1, for example 0/8 to 7/8.")
        return cls(int(found[1]), int(found[2]))

    def holds(self, question_id: str) -> bool:
        """Whether the case is this part's. It depends on the id alone: not on the order of rows, nor on the machine."""
        return int.from_bytes(hashlib.sha256(question_id.encode()).digest()[:8], "big") % self.of == self.number

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Shard(0, 1)
