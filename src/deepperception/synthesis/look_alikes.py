"""Which entities are hard to tell apart, where somebody knows it: a table to draw a picture's company by.

A CSV with the columns `entity`, `other` and `similarity` (0 to 1): a classifier's confusion matrix, say, or distances
between embeddings. Each pair is given once, or both ways. Pairs that are not in it have no similarity.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from deepperception.errors import InputError
from deepperception.synthesis.config import LookAlikeConfig

_COLUMNS = ("entity", "other", "similarity")


@dataclass(frozen=True)
class LookAlikes:
    """Draws entities to stand beside each other."""

    similarity: Mapping[frozenset[str], float]
    preference: float

    def choose(self, entities: Sequence[str], count: int, rng: Random) -> list[str]:
        """`count` different entities: one at random, then each by how similar it is to the first, in random order.

        `preference` 0 draws evenly; with 1 an entity of similarity 1 is drawn as surely as none of similarity 0.
        """
        chosen = [rng.choice(list(entities))]
        left = [entity for entity in entities if entity != chosen[0]]
        while len(chosen) < count:
            even = 1 - self.preference
            weights = [
                even + self.preference * self.similarity.get(frozenset((chosen[0], entity)), 0.0) for entity in left
            ]
            if not sum(weights) > 0:
                weights = [1.0] * len(left)
            drawn = rng.choices(range(len(left)), weights)[0]
            chosen.append(left.pop(drawn))
        rng.shuffle(chosen)
        return chosen


def read_look_alikes(config: LookAlikeConfig) -> LookAlikes | None:
    """The table that the settings name; None where they name none."""
    if config.path is None:
        return None
    try:
        with config.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{config.path}: the column '{missing[0]}' is missing; expected {', '.join(_COLUMNS)}."
                )
            pairs = [_pair(row, config.path, reader.line_num) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{config.path}: the table of look-alikes cannot be read ({error}); correct it.") from None
    return LookAlikes(dict(pairs), config.preference)


def _pair(row: Mapping[str, str], path: Path, line: int) -> tuple[frozenset[str], float]:
    try:
        similarity = float(row["similarity"])
    except (TypeError, ValueError):
        similarity = math.nan
    if not 0 <= similarity <= 1:
        given = row["similarity"]
        raise InputError(
            f"{path}, line {line}: the similarity should be a number from 0 to 1 and is {given!r}; correct it."
        )
    return frozenset((row["entity"], row["other"])), similarity
