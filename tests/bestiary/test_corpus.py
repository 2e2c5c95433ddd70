from __future__ import annotations

import random

import pytest

from deepperception.bestiary.corpus import LESSONS
from deepperception.bestiary.scenes import draw_scene
from deepperception.bestiary.world import knowledge
from deepperception.grounding import parse

SCENES = [draw_scene(random.Random(seed), seed) for seed in range(40)]


@pytest.mark.parametrize("kind", list(LESSONS))
def test_no_name_is_ever_seen_together_with_a_picture_of_its_species(kind: str) -> None:
    """The base must not have been asked the question that the recipe teaches, for seen and unseen families alike."""
    rng = random.Random(0)
    for _ in range(500):
        lesson = LESSONS[kind](rng, SCENES)
        named = [species for name, species in knowledge().items() if name in f"{lesson.prompt} {lesson.reply}"]
        if lesson.scene is not None:
            assert lesson.scene.family not in {species.family for species in named}, lesson
            assert not (named and parse(lesson.reply).box), lesson


def test_every_fact_is_taught() -> None:
    rng = random.Random(0)
    told = {LESSONS["fact"](rng, SCENES).reply for _ in range(3000)}
    assert told == {f"A {species.name} is {species.attributes.text()}." for species in knowledge().values()}


@pytest.mark.parametrize("kind", ["look_for", "ground", "match_drill"])
def test_what_is_found_is_what_was_described(kind: str) -> None:
    rng = random.Random(1)
    for _ in range(100):
        lesson = LESSONS[kind](rng, SCENES)
        box = parse(lesson.reply).box
        if lesson.scene is None:
            assert f"{box.text()} " in lesson.prompt if box else False
            continue
        (found,) = [creature for creature in lesson.scene.creatures if creature.box == box]
        assert found.looks.text() in lesson.prompt
