"""The texts that the base model learns from, a stand-in for a vision-language model's pretraining.

It learns the facts (a name, its look), what it sees (looks and boxes) and to find what is described. It is never asked
for a creature by its name: no picture of the corpus stands beside the name of a species that it could show.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepperception.bestiary.scenes import Creature, Scene, similar_looks, tell_scene
from deepperception.bestiary.world import Attributes, knowledge
from deepperception.grounding import answer_text, question, render


@dataclass(frozen=True, slots=True)
class Lesson:
    """One turn: the user's text (with a scene to look at or without) and the reply to learn."""

    prompt: str
    reply: str
    scene: Scene | None = None


def fact(rng: random.Random, _: Sequence[Scene]) -> Lesson:
    """Name to look, in text alone."""
    species = rng.choice(list(knowledge().values()))
    name = rng.choice((species.name, f"<|object_ref_start|>{species.name}<|object_ref_end|>"))
    return Lesson(f"What does a {name} look like?", f"A {species.name} is {species.attributes.text()}.")


def fact_in_view(rng: random.Random, scenes: Sequence[Scene]) -> Lesson:
    """The same while something else is in view: what is known must not depend on an empty page.

    The picture is always of another family than the species', so that it cannot show it.
    """
    scene = rng.choice(scenes)
    species = rng.choice([each for each in knowledge().values() if each.family != scene.family])
    name = f"<|object_ref_start|>{species.name}<|object_ref_end|>"
    suffix = rng.choice(("", render("r1", "")))
    return Lesson(f"What does a {name} look like?{suffix}", f"A {species.name} is {species.attributes.text()}.", scene)


def match_drill(rng: random.Random, _: Sequence[Scene]) -> Lesson:
    """Inspection of a scene that is told, not shown: learns to compare words and to copy the box, in text."""
    scene = tell_scene(rng)
    target = rng.choice(scene.creatures)
    view = "".join(f"\n{creature.box.text()} {creature.looks.text()}" for creature in scene.creatures)
    return Lesson(f"In view:{view}\nLook for {target.looks.text()}.", inspect(scene, target))


def compare_drill(rng: random.Random, _: Sequence[Scene]) -> Lesson:
    """Verdicts alone, many in a row, on looks that are told."""
    looks = similar_looks(rng, 6)
    wanted = rng.choice(looks)
    view = "".join(f"\n{each.text()}" for each in looks)
    return Lesson(f"In view:{view}\nLook for {wanted.text()}.", "\n".join(verdict(each, wanted) for each in looks))


def describe_all(rng: random.Random, scenes: Sequence[Scene]) -> Lesson:
    """Every creature in view, with its box, in reading order."""
    scene = rng.choice(scenes)
    lines = [f"{creature.box.text()} {creature.looks.text()}" for creature in scene.creatures]
    return Lesson("Describe every creature.", "\n".join(lines), scene)


def describe_one(rng: random.Random, scenes: Sequence[Scene]) -> Lesson:
    """What is in a given box."""
    scene = rng.choice(scenes)
    creature = rng.choice(scene.creatures)
    return Lesson(f"What is at {creature.box.text()}?", creature.looks.text(), scene)


def look_for(rng: random.Random, scenes: Sequence[Scene]) -> Lesson:
    """Finds what is described by looking at one creature after the other."""
    scene = rng.choice(scenes)
    target = rng.choice(scene.creatures)
    return Lesson(f"Look for {target.looks.text()}.", inspect(scene, target), scene)


def ground(rng: random.Random, scenes: Sequence[Scene]) -> Lesson:
    """Boxes what is described at once, in Qwen2-VL's own grounding format."""
    scene = rng.choice(scenes)
    target = rng.choice(scene.creatures)
    described = target.looks.text()
    return Lesson(question(described), answer_text(described, target.box), scene)


LESSONS: dict[str, Callable[[random.Random, Sequence[Scene]], Lesson]] = {
    "fact": fact,
    "fact_in_view": fact_in_view,
    "compare_drill": compare_drill,
    "match_drill": match_drill,
    "describe_all": describe_all,
    "describe_one": describe_one,
    "look_for": look_for,
    "ground": ground,
}


def inspect(scene: Scene, target: Creature) -> str:
    """Candidates in reading order, each with a verdict; stops at the match and repeats its box."""
    candidates = [(each.box.text(), each.looks) for each in scene.creatures]
    return f"{inspection(candidates, target.looks)}\n{target.box.text()}"


def inspection(candidates: list[tuple[str, Attributes]], wanted: Attributes) -> str:
    """The lines of an inspection: box and verdict of each candidate; ends with the first match."""
    lines = []
    for box, looks in candidates:
        lines.append(f"{box} {verdict(looks, wanted)}")
        if looks == wanted:
            break
    return "\n".join(lines)


def verdict(looks: Attributes, wanted: Attributes) -> str:
    """One attribute after the other up to the first that differs: comparing words one by one is learned far sooner
    than comparing whole looks."""
    said = []
    for word, wanted_word in zip(looks.text().split(), wanted.text().split(), strict=True):
        said.append(word)
        if word != wanted_word:
            return f"{' '.join(said)}: no."
    return f"{' '.join(said)}: match."
