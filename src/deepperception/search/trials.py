"""The trials of a recipe: which there are, what they are called, and the recipe that each of them follows."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepperception.errors import InputError
from deepperception.settings import parse

if TYPE_CHECKING:
    from deepperception.recipe import Recipe

TRIAL = "trial"
"""Name of the input that tells a step which trial it is of."""
MOST = 100
"""A grid grows by multiplication; more trials than this are more likely a slip than a plan."""
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Trial:
    """One training of the recipe, from the base model to the last stage."""

    name: str
    """Of its folder: lower case, digits, dots, dashes and underscores; one for a seed and its settings."""
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it changes of the recipe: {"grpo.learning_rate": 2e-6}."""

    @property
    def label(self) -> str:
        """The settings for people."""
        return ", ".join(f"{key} {_said(value)}" for key, value in self.settings.items()) or "as in the recipe"

    def applied(self, recipe: Recipe, where: str = "the trial") -> Recipe:
        """The recipe of this trial; InputError names a key that there is not, or a value that it does not take."""
        content = recipe.model_dump(mode="json")
        for key, value in self.settings.items():
            place = content
            *sections, last = key.split(".")
            for section in sections:
                if not isinstance(place.get(section), dict):
                    place[section] = {}
                place = place[section]
            place[last] = value
        return parse({**content, "seed": self.seed, "search": None}, type(recipe), where=where)

    def to_json(self) -> str:
        """One line, for a pipeline parameter."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Trial:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def trials_of(recipe: Recipe) -> list[Trial]:
    """Every combination of the grid, in its order, with every seed; without a search the recipe itself, once."""
    search = recipe.search
    seeds = (search.seeds if search else []) or [recipe.seed]
    grid = search.grid if search else {}
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    unnamed = [Trial("", seed, each) for each in settings for seed in seeds]
    names = [_name(trial) for trial in unnamed]
    return [
        dataclasses.replace(trial, name=name if _tells(name, names) else _with_digest(name, trial))
        for trial, name in zip(unnamed, names, strict=True)
    ]


def with_seeds(recipe: Recipe, seeds: Sequence[int], where: str) -> Recipe:
    """The recipe searched over these seeds, in the place of its own; InputError where they are none."""
    grid = recipe.search.grid if recipe.search else {}
    content = {**recipe.model_dump(mode="json"), "search": {"grid": grid, "seeds": list(seeds)}}
    searched = parse(content, type(recipe), where=where)
    check_search(searched, where)
    return searched


def check_search(recipe: Recipe, where: str) -> None:
    """InputError where one of the trials is no recipe, or there are too many of them."""
    if recipe.search is None:
        return
    trials = trials_of(recipe)
    if len(trials) > MOST:
        raise InputError(f"{where}: search: that is {len(trials)} trials; make it {MOST} or fewer.")
    for trial in trials:
        trial.applied(recipe, f"{where}, search.grid")


def _name(trial: Trial) -> str:
    told = [f"{key}-{_said(value)}" for key, value in trial.settings.items()]
    return re.sub(r"[^a-z0-9._]+", "-", "-".join([*told, f"seed-{trial.seed}"]).lower()).strip("-")


def _tells(name: str, names: list[str]) -> bool:
    return names.count(name) == 1 and len(name) <= _LONGEST_NAME


def _with_digest(name: str, trial: Trial) -> str:
    """Where values differ in what a folder's name cannot hold."""
    return f"{name[:_LONGEST_NAME].rstrip('-')}-{hashlib.sha256(trial.to_json().encode()).hexdigest()[:8]}"


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
