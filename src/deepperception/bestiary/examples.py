"""Pictures to try a model of the bestiary on: four creatures of one family each, one of them asked for."""

from __future__ import annotations

import io
import random

from PIL import Image

from deepperception.bestiary.draw import PICTURE_SIDE, draw_creature
from deepperception.bestiary.world import families


def examples(count: int = 4) -> list[tuple[bytes, str]]:
    """PNG files and the names to find on them; the same ones every time, seen and unseen families by turns."""
    ordered = sorted(families().values(), key=lambda family: family.name)
    chosen = [
        pair
        for pairs in zip(*([f for f in ordered if f.seen is seen] for seen in (True, False)), strict=False)
        for pair in pairs
    ]
    drawn = []
    for number, family in enumerate(chosen[:count]):
        rng = random.Random(f"example {number}")
        species = rng.sample(family.species, min(4, len(family.species)))
        picture = Image.new("RGB", (2 * PICTURE_SIDE, 2 * PICTURE_SIDE), (128, 128, 128))
        for place, each in enumerate(species):
            tile, _ = draw_creature(family.name, each.attributes, rng)
            picture.paste(tile, (place % 2 * PICTURE_SIDE, place // 2 * PICTURE_SIDE))
        file = io.BytesIO()
        picture.save(file, "PNG")
        drawn.append((file.getvalue(), rng.choice(species).name))
    return drawn
