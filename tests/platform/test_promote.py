"""One model against the champion, outside of a pipeline; and what is said and swept afterwards."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepperception.artifacts import Case, open_store, payload_digest, seal, write_cases
from deepperception.errors import InputError
from deepperception.evaluation.answers import file_digest
from deepperception.infra import Infra
from deepperception.platform import promote as module
from deepperception.platform import status, upkeep
from deepperception.platform.promote import foresee, promote
from deepperception.progress import Progress
from deepperception.promotion import CHAMPION, PREVIOUS, Result
from deepperception.recipe import Recipe, load_recipe
from deepperception.tracking import MODEL, Tracker

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

BOX = (0.0, 0.0, 500.0, 500.0)


class Server:
    """Every model loads, and nothing is asked of it (the recipe wants no golden pictures)."""

    @contextmanager
    def serving(self, model: Path) -> Iterator[str]:
        assert (model / "model.safetensors").is_file()
        yield "http://unused"


def evaluation(folder: Path, model: str, benchmark: Path, right: int) -> Path:
    """As the stage writes it: 200 cases, the first `right` of them right."""
    folder.mkdir(parents=True)
    iou = [float(number < right) for number in range(200)]
    about: dict[str, Any] = {"category": "bird", "seen": True, "entity": "wren", "target": BOX, "text": ""}
    read: dict[str, Any] = {"official": BOX, "robust": BOX, "form": "canonical"}
    cases = (
        Case(question_id=f"bird/{number:03}", official_iou=value, robust_iou=value, **about, **read)
        for number, value in enumerate(iou)
    )
    write_cases(folder, cases)
    metrics: dict[str, Any] = {
        "benchmark": {"file": benchmark.name, "digest": file_digest(benchmark), "cases": 200},
        "backend": {"engine": "e", "version": "1", "dtype": "d", "decoding": {}},
        "official": {"all": {"cases": 200, "accuracy": right / 200}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    seal(
        folder,
        kind="evaluation",
        inputs={"model": model, "benchmark": metrics["benchmark"]["digest"]},
        recipe_hash="",
        seed=0,
    )
    return folder


class World:
    """A run's folder with nothing but the benchmark in it."""

    def __init__(self, tmp_path: Path, recipe: Recipe, infra: Infra, base: Path, registry: Path) -> None:
        self.tmp_path, self.recipe, self.infra = tmp_path, recipe, infra
        self.benchmark = infra.work_dir / "synthesis" / "test.parquet"
        self.benchmark.parent.mkdir(parents=True)
        self.benchmark.write_bytes(b"rows")
        self.scored: list[str] = []
        self.base = payload_digest(base)
        shutil.copy(registry, tmp_path / "run" / "mlflow.db")

    def candidate(self, name: str, right: int) -> tuple[Path, Path]:
        """A model folder and its evaluation."""
        model = self.tmp_path / name
        model.mkdir()
        (model / "model.safetensors").write_bytes(name.encode())
        return model, evaluation(self.tmp_path / f"{name}-evaluation", payload_digest(model), self.benchmark, right)

    def promote(self, model: Path, evidence: Path, *, dry_run: bool = False) -> Result:
        progress = Progress("promote", io.StringIO())
        if dry_run:
            return foresee(self.recipe, self.infra, str(model), evidence, None, progress).result
        return promote(self.recipe, self.infra, str(model), evidence, None, progress)

    def alias(self, name: str) -> str | None:
        version = Tracker(self.infra.tracking_uri, self.infra.experiment).alias(MODEL, name)
        return version.digest if version else None


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all its tables, made once: every test copies it."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    Tracker(f"sqlite:///{path}", "tests")
    return path


@pytest.fixture
def world(
    tmp_path: Path,
    recipe_file: Path,
    infra: Infra,
    hollow_checkpoint: Path,
    empty_registry: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """A base that is right on 50 of 200 cases, once it is scored."""
    content = yaml.safe_load(recipe_file.read_text()) | {"promotion": {"golden": 0}}
    recipe_file.write_text(yaml.safe_dump(content))
    there = World(tmp_path, load_recipe(recipe_file), infra, hollow_checkpoint, empty_registry)

    def evaluate_model(config: object, benchmark: Path, model: Path, out: Path, context: object) -> None:
        there.scored.append(payload_digest(model))
        if not out.exists():
            evaluation(out, payload_digest(model), benchmark, right=50)

    monkeypatch.setattr(module, "evaluate_model", evaluate_model)
    monkeypatch.setattr(module, "LocalServer", Server)
    return there


def test_the_better_model_becomes_champion_after_the_base(world: World) -> None:
    model, evidence = world.candidate("better", right=120)
    result = world.promote(model, evidence)
    assert result.outcome == "promoted"
    assert world.alias(CHAMPION) == payload_digest(model)
    assert world.alias(PREVIOUS) == world.base

    again = world.promote(model, evidence)
    assert again.outcome == "already champion"
    assert world.scored == [world.base]
    assert world.alias(CHAMPION) == payload_digest(model)


def test_a_model_that_is_not_better_is_refused(world: World) -> None:
    result = world.promote(*world.candidate("equal", right=50))
    assert result.outcome == "refused"
    assert world.alias(CHAMPION) == world.base


@pytest.mark.parametrize(("right", "outcome"), [(120, "promoted"), (50, "refused")])
def test_a_trial_leaves_the_registry_alone(world: World, right: int, outcome: str) -> None:
    assert world.promote(*world.candidate("one", right), dry_run=True).outcome == outcome
    assert world.alias(CHAMPION) is None
    assert not (world.tmp_path / "run" / "store").exists(), "no weights are stored either"


def test_a_trial_meets_the_champion_there_is(world: World) -> None:
    world.promote(*world.candidate("better", right=120))
    assert world.promote(*world.candidate("best", right=190), dry_run=True).outcome == "promoted"
    assert world.promote(*world.candidate("worse", right=40), dry_run=True).outcome == "refused"


@pytest.mark.parametrize("dry_run", [True, False])
def test_without_a_registry_nothing_is_promoted_nor_made(world: World, dry_run: bool) -> None:
    (world.tmp_path / "run" / "mlflow.db").unlink()
    with pytest.raises(InputError, match=r"run/mlflow\.db: there is no such database; .* --out"):
        world.promote(*world.candidate("one", 120), dry_run=dry_run)
    assert [path.name for path in (world.tmp_path / "run").iterdir()] == ["work"]


def test_telling_what_there_is_writes_nothing(world: World) -> None:
    run = world.tmp_path / "run"
    database = (run / "mlflow.db").read_bytes()
    assert list(status.of_run(world.infra, run)) == []
    assert (run / "mlflow.db").read_bytes() == database
    (run / "mlflow.db").unlink()
    assert list(status.of_run(world.infra, run)) == []
    assert [path.name for path in run.iterdir()] == ["work"]


def test_evidence_must_be_of_the_model(world: World) -> None:
    _, evidence = world.candidate("one", 120)
    other, _ = world.candidate("other", 120)
    with pytest.raises(InputError, match="evaluate the model that is to be promoted"):
        world.promote(other, evidence)


def test_the_benchmark_is_found_by_its_content(world: World) -> None:
    model, evidence = world.candidate("one", 120)
    world.benchmark.write_bytes(b"other rows")
    with pytest.raises(InputError, match="give it with --benchmark"):
        world.promote(model, evidence)


def test_afterwards_the_champion_is_told_and_only_rubbish_is_swept(world: World) -> None:
    model, evidence = world.candidate("better", 120)
    world.promote(model, evidence)
    told = list(status.of_run(world.infra, world.tmp_path / "run"))
    assert any(line.startswith("champion: version 2") and "100 %" in line for line in told)
    assert any(line.startswith("previous: version 1") for line in told)

    rubbish = world.tmp_path / "rubbish"
    rubbish.mkdir()
    (rubbish / "file").write_text("of no version")
    store = open_store(world.infra.store)
    reference = store.put(rubbish)
    foreseen = list(upkeep.sweep(world.infra, days=0, dry_run=True))
    assert foreseen[0] == f"{reference.digest}  0.0 MB  artifact"
    assert foreseen[1].startswith("1 would be removed, 0.0 MB")
    assert store.get(reference).is_dir()
    assert list(upkeep.sweep(world.infra, days=0, dry_run=False))[-1].startswith("1 removed, 0.0 MB")
    with pytest.raises(InputError, match="no such artifact"):
        store.get(reference)


def test_a_rollback_can_be_tried(world: World) -> None:
    world.promote(*world.candidate("better", 120))
    said = upkeep.roll_back(world.infra, Progress("rollback", io.StringIO()), dry_run=True)
    assert said == "champion: version 2; it would go back to version 1"
    assert world.alias(PREVIOUS) == world.base
