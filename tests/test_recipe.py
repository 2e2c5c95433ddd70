"""Recipes and infra files: ready-made ones load, overrides reach them, mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepperception import presets
from deepperception.errors import InputError
from deepperception.infra import Infra, load_infra
from deepperception.recipe import Recipe, load_recipe

RECIPE = """\
name: small
model: {base: package://deepperception.bestiary/base}
synthesis:
  source: {kind: bestiary, category: animal, skip_bad: true, options: {photos_per_entity: 3}}
  candidates: {3: 1.0, 4: 2.0}
sft: {learning_rate: 0.001}
grpo: {}
evaluation: {}
promotion: {}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE)
    return file


def ready_made(kind: str) -> list[Path]:
    return sorted((Path(__file__).parent.parent / kind).glob("*.yaml"))


@pytest.mark.parametrize("file", ready_made("recipes"), ids=lambda file: file.stem)
def test_every_ready_made_recipe_loads_by_path_and_by_name(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe == load_recipe(file.stem)
    assert recipe.name == file.stem


@pytest.mark.parametrize("file", ready_made("infra"), ids=lambda file: file.stem)
def test_every_ready_made_infra_file_loads(file: Path, tmp_path: Path) -> None:
    assert load_infra(file, tmp_path) == load_infra(file.stem, tmp_path)


def test_a_recipe_travels_as_json(path: Path) -> None:
    recipe = load_recipe(path, ["synthesis.source.path=photos"])
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert "\n" not in recipe.to_json()


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("sft.learning_rate=2.0e-4", "sft", "learning_rate", 2e-4),
        ("sft.learning_rate=2e-4", "sft", "learning_rate", 2e-4),
        ("promotion.golden=0", "promotion", "golden", 0),
        ("model.base=/models/a=b", "model", "base", "/models/a=b"),
        ("grpo.difficulty=null", "grpo", "difficulty", None),
        ("synthesis.candidates.3=5", "synthesis", "candidates", {3: 5.0, 4: 2.0}),
        ("synthesis.candidates={2: 1}", "synthesis", "candidates", {2: 1.0}),
    ],
)
def test_an_override_reaches_its_setting(path: Path, override: str, section: str, key: str, value: object) -> None:
    assert getattr(getattr(load_recipe(path, [override]), section), key) == value


def test_the_last_override_wins_and_seed_is_one(path: Path) -> None:
    assert load_recipe(path, ["sft.batch_size=4", "sft.batch_size=8"], seed=3).sft.batch_size == 8
    assert (load_recipe(path).seed, load_recipe(path, seed=3).seed, load_recipe(path, ["seed=4"]).seed) == (0, 3, 4)


def test_photos_replace_the_source_and_keep_what_is_known_of_them(path: Path, tmp_path: Path) -> None:
    source = load_recipe(path, source=tmp_path / "photos").synthesis.source
    assert (source.kind, source.path, source.options) == ("folder", tmp_path / "photos", {})
    assert (source.category, source.skip_bad) == ("animal", True)


def test_photos_are_found_from_any_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(path, source=Path("photos")).synthesis.source.path == tmp_path / "photos"


def test_a_section_hash_depends_on_its_sections_alone(path: Path) -> None:
    recipe, other = load_recipe(path), load_recipe(path, ["sft.epochs=3"], seed=5)
    assert recipe.section_hash("sft") != other.section_hash("sft")
    assert recipe.section_hash("grpo") == other.section_hash("grpo")
    assert recipe.section_hash("grpo", "sft") == recipe.section_hash("sft", "grpo") != recipe.section_hash("sft")
    assert recipe.section_hash("sft") == Recipe.from_json(recipe.to_json()).section_hash("sft")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sft.learning_rte=1"], "small.yaml, --set sft.learning_rte=1: unknown key 'sft.learning_rte'; did you mean"),
        (["sft.learning_rate=-1"], "sft.learning_rate: input should be greater than 0"),
        (["promotion.alpha=2"], "promotion.alpha: input should be less than 1"),
        (["name=Small One"], "name: string should match"),
        (["seed=-1"], "seed: input should be greater than or equal to 0"),
        (["sft"], "--set sft: expected section.key=value"),
        (["=1"], "--set =1: expected section.key=value"),
        (["sft..epochs=1"], "expected section.key=value"),
        (["sft.epochs=[1"], "the value is not valid YAML"),
        (["name.first=x"], "'name' is a single value and holds no keys"),
        (["sft.learning_rate.peak=1"], "'learning_rate' is a single value"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(path, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a mapping"),
        ("- name", "expected a mapping"),
        ("name: [", "not valid YAML"),
        ("synthesis: 3\nname: a\n", "model: field required"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(path: Path, content: str, message: str, tmp_path: Path) -> None:
    path.write_text(content)
    for source in (None, tmp_path):
        with pytest.raises(InputError, match=message):
            load_recipe(path, source=source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bestiry", "'bestiry' is no file and none of the ready-made recipes; did you mean 'bestiary'?"),
        ("zzz", "there are: bestiary"),
        ("no/such.yaml", "no/such.yaml: there is no such file"),
    ],
)
def test_a_recipe_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(name)
    assert message in str(caught.value)


def test_a_file_goes_before_a_ready_made_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bestiary").write_text(RECIPE)
    assert presets.find("recipes", "bestiary") == Path("bestiary")
    assert load_recipe("bestiary").name == "small"


def test_the_laptop_keeps_everything_in_the_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    infra = load_infra("laptop", Path("runs/demo"))
    home = tmp_path / "runs" / "demo"
    assert infra.runner == "local"
    assert infra.work_dir == home / "work"
    assert infra.store == str(home / "store")
    assert infra.tracking_uri == f"sqlite:///{home}/mlflow.db"
    assert Infra.from_json(infra.to_json()) == infra


def test_an_infra_file_that_needs_a_folder_says_so() -> None:
    with pytest.raises(InputError, match=r"laptop.yaml: work_dir: .* give it with --out DIR"):
        load_infra("laptop")


def test_an_unknown_infra_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("work_dir: /w\nstore: /s\ntracking_uri: sqlite:////m.db\nruner: local\n")
    with pytest.raises(InputError, match=r"mine.yaml: unknown key 'runer'; did you mean 'runner'"):
        load_infra(tmp_path / "mine.yaml")
