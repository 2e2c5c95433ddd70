from __future__ import annotations

import pytest
from pydantic import Field, ValidationError

from deepperception import errors
from deepperception.errors import InputError
from deepperception.settings import Settings, load, parse, read_yaml


class Rollout(Settings):
    temperature: float = Field(1.0, gt=0)
    completions: int = 4


class Stage(Settings):
    learning_rate: float = 1e-6
    rollout: Rollout = Rollout()
    fallback: Rollout | None = None
    name: str


@pytest.mark.parametrize(
    "content, sentence, why",
    [
        (
            {"name": "a", "learning_rat": 1},
            "recipe.yaml: unknown key 'learning_rat'; did you mean 'learning_rate'?",
            "a typo",
        ),
        (
            {"name": "a", "rollout": {"temprature": 1}},
            "recipe.yaml: unknown key 'rollout.temprature'; did you mean 'temperature'?",
            "a typo below: nearest among the keys there",
        ),
        (
            {"name": "a", "fallback": {"temprature": 1}},
            "recipe.yaml: unknown key 'fallback.temprature'; did you mean 'temperature'?",
            "also in an optional group",
        ),
        (
            {"name": "a", "rollout": {"zzz": 1}},
            "recipe.yaml: unknown key 'rollout.zzz'; valid keys here: completions, temperature.",
            "nothing near: all of them",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(content, sentence, why):
    with pytest.raises(InputError) as refused:
        parse(content, Stage, where="recipe.yaml")
    assert str(refused.value) == sentence, why


@pytest.mark.parametrize(
    "content, expected, why",
    [
        ({}, ["recipe.yaml: name:", "required"], "a missing key"),
        (
            {"name": "a", "rollout": {"temperature": -1}},
            ["rollout.temperature:", "greater than 0", "(it is -1)"],
            "a bound",
        ),
        ({"name": "a", "learning_rate": "fast"}, ["learning_rate:", "(it is 'fast')"], "a type"),
        ({"learning_rate": "fast"}, ["(1 more like this)"], "several faults: one sentence and a count"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(content, expected, why):
    with pytest.raises(InputError) as refused:
        parse(content, Stage, where="recipe.yaml")
    assert all(part in str(refused.value) for part in expected), why
    assert "\n" not in str(refused.value)


def test_settings_never_change():
    stage = parse({"name": "a"}, Stage, where="recipe.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        stage.name = "b"  # type: ignore[misc]


def test_load_reads_a_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: é\nrollout: {temperature: 0.5}\n", encoding="utf-8")
    assert load(path, Stage) == Stage(name="é", rollout=Rollout(temperature=0.5))


@pytest.mark.parametrize(
    "content, complaint",
    [
        (None, "there is no such file"),
        (b"a: b\nc: [1, 2", r"line 2.*not valid YAML|line 3.*not valid YAML"),
        (b"- a\n- b\n", "expected a mapping of settings, found list"),
        (b"", "expected a mapping of settings, found NoneType"),
        (b"\xff\xfe\xfa", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_settings_is_named(tmp_path, content, complaint):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=complaint) as refused:
        read_yaml(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_exit_codes_are_the_documented_ones():
    codes = {error.__name__: error.exit_code for error in errors.DeepPerceptionError.__subclasses__()}
    assert codes == {"InputError": 1, "InfrastructureError": 3, "GateRefused": 4, "Preempted": 75}
