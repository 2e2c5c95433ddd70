"""Scenes for the base model's own corpus: creatures of every look, none of them named."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from deepperception.bestiary.draw import PICTURE_SIDE, draw_creature
from deepperception.bestiary.world import COORDINATE_STEP, Attributes, all_looks, families
from deepperception.grounding import Box


@dataclass(frozen=True, slots=True)
class Creature:
    """What the corpus says of one creature: its look, and its box on the grid of coordinate tokens."""

    looks: Attributes
    box: Box
    quadrant: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Creatures of one family in reading order; `picture` is None in the text-only drills."""

    picture: Image.Image | None
    creatures: tuple[Creature, ...]
    family: str
    number: int = -1
    """Its place in a pool of scenes, where it is in one."""


def draw_scene(rng: random.Random, number: int = -1) -> Scene:
    """Three or four look-alikes of any family and any look, one a quadrant of a 2 x 2 grid."""
    family = rng.choice(list(families()))
    looks = similar_looks(rng, rng.choice((3, 4)))
    side = 2 * PICTURE_SIDE
    picture = Image.new("RGB", (side, side), (128, 128, 128))
    creatures = []
    for cell, look in zip(sorted(rng.sample(range(4), len(looks))), looks, strict=True):
        tile, (x1, y1, x2, y2) = draw_creature(family, look, rng)
        left, top = cell % 2 * PICTURE_SIDE, cell // 2 * PICTURE_SIDE
        picture.paste(tile, (left, top))
        box = Box.from_pixels(x1 + left, y1 + top, x2 + left, y2 + top, width=side, height=side)
        creatures.append(Creature(look, box.rounded(COORDINATE_STEP), cell))
    return Scene(picture, tuple(creatures), family, number)


def tell_scene(rng: random.Random) -> Scene:
    """The same without a picture: looks and boxes for the text-only drills."""
    creatures = []
    looks = similar_looks(rng, rng.choice((3, 4)))
    for cell, look in zip(sorted(rng.sample(range(4), len(looks))), looks, strict=True):
        left, top = cell % 2 * 500, cell // 2 * 500
        x1, y1 = left + rng.randrange(0, 250, COORDINATE_STEP), top + rng.randrange(0, 250, COORDINATE_STEP)
        x2, y2 = x1 + rng.randrange(200, 275, COORDINATE_STEP), y1 + rng.randrange(200, 275, COORDINATE_STEP)
        creatures.append(Creature(look, Box(x1, y1, min(x2, left + 500), min(y2, top + 500)), cell))
    return Scene(None, tuple(creatures), family="")


def similar_looks(rng: random.Random, count: int) -> list[Attributes]:
    """Different looks; half of the time near ones, so that no single attribute gives the answer away."""
    if rng.random() < 0.5:
        return rng.sample(all_looks(), count)
    first = rng.choice(all_looks())
    near = [
        look
        for look in all_looks()
        if 1 <= (look.colour != first.colour) + (look.skin != first.skin) + (look.horns != first.horns) <= 2
    ]
    looks = [first, *rng.sample(near, count - 1)]
    rng.shuffle(looks)
    return looks
