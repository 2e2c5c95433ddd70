"""What is true in the bestiary: families, their species, and the attributes that tell siblings apart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

COLOURS = {
    "red": (214, 45, 40),
    "yellow": (238, 205, 45),
    "green": (60, 165, 60),
    "teal": (50, 190, 195),
    "blue": (45, 80, 215),
    "purple": (160, 65, 190),
}
SKINS = ("plain", "striped", "spotted")
HORNS = ("hornless", "white-horned", "black-horned")

COORDINATE_STEP = 25
"""Thousandths between the coordinates that the tiny model has a token for."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What can be seen of a creature besides its family's body plan."""

    colour: str
    skin: str
    horns: str

    def text(self) -> str:
        """The three words in the order every text of the world uses."""
        return f"{self.colour} {self.skin} {self.horns}"


@dataclass(frozen=True, slots=True)
class Species:
    """A name, its family, and how it looks."""

    name: str
    family: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Family:
    """Look-alikes of one body plan; `seen` families have training data."""

    name: str
    seen: bool
    species: tuple[Species, ...]


@cache
def families() -> dict[str, Family]:
    """All ten, by name, as world.yaml tells them."""
    content = yaml.safe_load(resources.files(__package__).joinpath("world.yaml").read_text(encoding="utf-8"))
    return {
        name: Family(
            name,
            entry["seen"],
            tuple(Species(species, name, Attributes(**looks)) for species, looks in entry["species"].items()),
        )
        for name, entry in content["families"].items()
    }


@cache
def knowledge() -> dict[str, Species]:
    """Every species by its name."""
    return {species.name: species for family in families().values() for species in family.species}


@cache
def all_looks() -> tuple[Attributes, ...]:
    """Each of the 54 attribute combinations, named or not."""
    return tuple(Attributes(*looks) for looks in itertools.product(COLOURS, SKINS, HORNS))
