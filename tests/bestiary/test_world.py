from __future__ import annotations

import random

import numpy as np
import pytest

from deepperception.bestiary.draw import PICTURE_SIDE, creature_box, draw_creature
from deepperception.bestiary.scenes import draw_scene, similar_looks, tell_scene
from deepperception.bestiary.world import Attributes, all_looks, families, knowledge


def test_ten_families_of_which_half_are_seen() -> None:
    assert [family.seen for family in families().values()].count(True) == 5
    assert len(families()) == 10
    assert len(knowledge()) == 60, "a name that two species share would be lost here"


@pytest.mark.parametrize("family", list(families()))
def test_siblings_can_be_told_apart(family: str) -> None:
    looks = [species.attributes for species in families()[family].species]
    assert len(set(looks)) == 6
    assert set(looks) <= set(all_looks())


@pytest.mark.parametrize("family", list(families()))
@pytest.mark.parametrize("horns", ["hornless", "white-horned", "black-horned"])
def test_box_encloses_the_drawn_pixels(family: str, horns: str) -> None:
    for seed in range(5):
        picture, (x1, y1, x2, y2) = draw_creature(family, Attributes("red", "striped", horns), random.Random(seed))
        pixels = np.asarray(picture, dtype=int)
        drawn = np.abs(pixels - pixels[0, 0]).sum(-1) > 0
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        # Half-covered pixels at the edge are drawn paler: the box is finer than the pixels it is compared with.
        assert np.abs(np.array(seen) - (x1, y1, x2, y2)).max() <= 1


def test_a_creature_is_drawn_the_same_from_the_same_seed() -> None:
    looks = Attributes("blue", "spotted", "black-horned")
    first, box = draw_creature("fish", looks, random.Random("a"))
    second, _ = draw_creature("fish", looks, random.Random("a"))
    assert first.tobytes() == second.tobytes()
    assert box == creature_box("fish", looks, random.Random("a"))
    assert first.size == (PICTURE_SIDE, PICTURE_SIDE)


@pytest.mark.parametrize("make", [draw_scene, tell_scene])
def test_scenes_hold_different_looks_each_in_its_quadrant(make) -> None:  # type: ignore[no-untyped-def]
    for seed in range(50):
        scene = make(random.Random(seed))
        assert len({creature.looks for creature in scene.creatures}) == len(scene.creatures)
        for creature in scene.creatures:
            left, top = creature.quadrant % 2 * 500, creature.quadrant // 2 * 500
            assert left <= creature.box.x1 < creature.box.x2 <= left + 500
            assert top <= creature.box.y1 < creature.box.y2 <= top + 500


def test_no_single_attribute_gives_the_answer_away_for_long() -> None:
    rng = random.Random(0)
    shared = sum(len({look.colour for look in similar_looks(rng, 4)}) < 4 for _ in range(300))
    assert shared > 150
