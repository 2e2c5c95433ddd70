"""The bestiary's creatures as a source of labelled photos, drawn when they are looked at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

from PIL import Image
from pydantic import Field

from deepperception.bestiary.draw import PICTURE_SIDE, creature_box, draw_creature
from deepperception.bestiary.world import Species, families
from deepperception.settings import Settings, parse
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.sources import Photo


class BestiaryOptions(Settings):
    """How much of the world to draw."""

    photos_per_entity: int = Field(150, ge=5, le=100_000)


class BestiarySource:
    """One photo a creature, of random size and place; families are the categories, species the entities."""

    def __init__(self, config: SourceConfig, seed: int) -> None:
        self.options = parse(config.options, BestiaryOptions, where="synthesis.source.options")
        self.seed = seed

    def photos(self) -> Iterator[Photo]:
        """Every species' photos, drawn only when loaded."""
        for family in families().values():
            for species in family.species:
                for number in range(self.options.photos_per_entity):
                    yield self._photo(species, number)

    def report(self) -> dict[str, Any]:
        """Nothing is ever left out."""
        return {}

    def _photo(self, species: Species, number: int) -> Photo:
        identity = f"{species.family}/{species.name}/{number:04d}"
        seed = f"{self.seed}/{identity}"
        return Photo(
            id=identity,
            category=species.family,
            entity=species.name,
            box=creature_box(species.family, species.attributes, random.Random(seed)),
            size=(PICTURE_SIDE, PICTURE_SIDE),
            licence="Apache-2.0",
            load=partial(_draw, species, seed),
        )


def _draw(species: Species, seed: str) -> Image.Image:
    return draw_creature(species.family, species.attributes, random.Random(seed))[0]
