"""The trials of a search: every combination once, each with a name and a recipe of its own."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from deepperception.cli import cli
from deepperception.errors import InputError
from deepperception.recipe import Recipe, load_recipe
from deepperception.search.trials import Trial, trials_of, with_seeds

GRID = "search={seeds: [3, 1], grid: {grpo.learning_rate: [1.0e-4, 2.0e-4], grpo.difficulty.samples: [4, 6]}}"


def searched(search: str) -> Recipe:
    return load_recipe("bestiary", [f"search={search}"])


def test_every_combination_meets_every_seed() -> None:
    trials = trials_of(load_recipe("bestiary", [GRID]))
    met = [(trial.seed, *trial.settings.values()) for trial in trials]
    assert met == [(seed, rate, samples) for rate in (1e-4, 2e-4) for samples in (4, 6) for seed in (3, 1)]
    assert trials[0].name == "grpo.learning_rate-0.0001-grpo.difficulty.samples-4-seed-3"
    assert trials[0].label == "grpo.learning_rate 0.0001, grpo.difficulty.samples 4"


def test_a_trial_follows_the_recipe_but_for_what_it_tries() -> None:
    recipe = load_recipe("bestiary", [GRID])
    own = trials_of(recipe)[-1].applied(recipe)
    assert (own.seed, own.grpo.learning_rate, own.search) == (1, 2e-4, None)
    assert own.grpo.difficulty is not None
    assert own.grpo.difficulty.samples == 6
    assert own.section_hash("synthesis", "sft", "model") == recipe.section_hash("synthesis", "sft", "model")


def test_without_seeds_it_is_the_recipes_own_and_without_a_search_the_recipe_itself() -> None:
    assert [trial.seed for trial in trials_of(load_recipe("bestiary", ["search={}"], seed=7))] == [7]
    (only,) = trials_of(load_recipe("bestiary"))
    assert (only.name, only.label) == ("seed-0", "as in the recipe")


def test_seeds_of_the_command_take_the_place_of_the_recipes_and_leave_the_grid() -> None:
    recipe = with_seeds(load_recipe("bestiary", [GRID]), [5], where="here")
    assert {trial.seed for trial in trials_of(recipe)} == {5}
    assert len(trials_of(recipe)) == 4


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        (
            "{grpo.difficulty: [{samples: 4, max_right: 3}, {samples: 5, max_right: 3}, null]}",
            "long, and of many signs",
        ),
        ("{sft.schedule: [cosine, constant], sft.epochs: [1, '1']}", "1 and '1' look the same"),
    ],
)
def test_names_differ_where_values_do_and_fit_a_folder(grid: str, why: str) -> None:
    names = [trial.name for trial in trials_of(searched(f"{{seeds: [0, 1], grid: {grid}}}"))]
    assert len(set(names)) == len(names), why
    assert all(re.fullmatch(r"[a-z0-9._-]{1,80}", name) for name in names), names


def test_a_trial_travels_as_json() -> None:
    for trial in trials_of(load_recipe("bestiary", [GRID])):
        assert Trial.from_json(trial.to_json()) == trial


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{seds: [1]}", "unknown key 'search.seds'; did you mean 'seeds'?"),
        ("{grid: {grpo.learnin_rate: [1]}}", "search.grid: unknown key 'grpo.learnin_rate'; did you mean"),
        ("{grid: {grpo.learning_rate: [1.0, -1]}}", "search.grid: grpo.learning_rate: input should be greater than 0"),
        ("{grid: {grpo.learning_rate.peak: [1]}}", "search.grid: grpo.learning_rate: input should be a valid number"),
        ("{grid: {synthesis.rows.sft: [1]}}", "'synthesis.rows.sft' is not of sft or grpo"),
        ("{grid: {sft.epochs: []}}", "needs at least one value"),
        ("{grid: {sft.epochs: [1, 1.0]}}", "none of them twice"),
        ("{seeds: [0, 1, 0]}", "a seed is named twice"),
        ("{seeds: [-1]}", "seeds lie between 0 and"),
        (f"{{seeds: {list(range(101))}}}", "that is 101 trials; make it 100 or fewer"),
    ],
)
def test_a_mistake_is_one_sentence(search: str, message: str) -> None:
    with pytest.raises(InputError) as told:
        searched(search)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_seeds_that_are_none_are_the_users_error() -> None:
    result = CliRunner().invoke(cli, ["check", "bestiary", "--seeds", "0,x"])
    assert result.exit_code == 1
    assert result.stderr == "error: --seeds 0,x: expected whole numbers between commas, as 0,1,2.\n"
