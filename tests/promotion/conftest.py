"""A small world to promote in: written evaluations, a real registry and store, a service that answers from a table."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import Case, Context, FolderStore, seal, write_cases, write_rows
from deepperception.grounding import Box, Sample, answer_text, question
from deepperception.progress import Progress
from deepperception.promotion import Arm, Inputs
from deepperception.promotion.cluster import Corners
from deepperception.tracking import Tracker

TARGET, ELSEWHERE = (100.0, 100.0, 300.0, 300.0), (600.0, 600.0, 900.0, 900.0)
CASES = 200
BACKEND = {"engine": "transformers", "version": "5.23.0", "dtype": "float32", "decoding": {"temperature": 0.0}}

Evaluate = Callable[..., Path]


def entity(number: int) -> str:
    return f"creature {number}"


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Writes an evaluation: `right` names the cases that the model got right. The first half are seen categories."""

    def write(name: str, right: Sequence[int], *, cases: int = CASES, model: str = "", **backend: Any) -> Path:
        folder = tmp_path / "evaluations" / name
        folder.mkdir(parents=True)
        rows = []
        for number in range(cases):
            box, iou = (TARGET, 1.0) if number in set(right) else (ELSEWHERE, 0.0)
            seen = number < cases // 2
            rows.append(
                Case(
                    question_id=f"{'bird' if seen else 'dog'}/{number:03}",
                    category="bird" if seen else "dog",
                    seen=seen,
                    entity=entity(number),
                    target=TARGET,
                    text="",
                    official=box,
                    official_iou=iou,
                    robust=box,
                    robust_iou=iou,
                    form="canonical",
                )
            )
        write_cases(folder, rows)
        metrics: dict[str, Any] = {
            "benchmark": {"digest": f"sha256:{name.split('/')[-1]}", "cases": cases},
            "backend": BACKEND | {"prompt": name} | backend,
            "official": {"all": {"cases": cases, "accuracy": sum(row.correct for row in rows) / cases}},
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
        inputs = {"model": model, "benchmark": metrics["benchmark"]["digest"]}
        seal(folder, kind="evaluation", inputs=inputs, recipe_hash="sha256:evaluation", seed=0)
        return folder

    return write


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables, made once: every test copies it."""
    pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    Tracker(f"sqlite:///{path}", "tests")
    return path


@dataclass
class Service:
    """A Cluster whose service boxes the entities in `knows`, and nothing else."""

    events: list[str] = field(default_factory=list)
    served: list[bytes] = field(default_factory=list)
    knows: Callable[[str], bool] = lambda entity: True
    fault: Exception | None = None
    memory_bytes: int = 2**30

    @contextmanager
    def serving(self, model: Path) -> Iterator[str]:
        self.events.append("serving")
        self.served.append((model / "model.safetensors").read_bytes())
        yield "http://service"

    def ask(self, url: str, image: bytes, entity: str) -> Corners | None:
        assert (url, image) == ("http://service", b"a picture")
        if self.fault is not None:
            raise self.fault
        return TARGET if self.knows(entity) else None

    def metrics(self, url: str) -> str:
        assert url == "http://service"
        return f"process_resident_memory_bytes {self.memory_bytes}\n"


@dataclass
class World:
    """Everything that promotion is given."""

    tracker: Tracker
    store: FolderStore
    service: Service
    inputs: Inputs
    out: Path
    log: io.StringIO
    context: Context
    evaluated: list[str] = field(default_factory=list)
    """Digests of the champions that were scored on demand."""


@pytest.fixture
def world(tmp_path: Path, empty_registry: Path, evaluate: Evaluate) -> World:
    """A base that is right on 60 of 200 cases, sft on 90, cot_sft on 140 and grpo on 138."""
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    store = FolderStore(tmp_path / "store")

    def arm(name: str, right: int) -> Arm:
        model = tmp_path / "models" / name
        model.mkdir(parents=True)
        (model / "model.safetensors").write_bytes(name.encode())
        step = CASES / right
        cases = [int(index * step) for index in range(right)]
        kept = store.put(model)
        scored = [evaluate(f"{name}/{split}", cases, model=kept.digest) for split in ("validation", "test")]
        return Arm(name, kept, *scored)

    def row(number: int) -> Sample:
        box = Box(*TARGET)
        category = "bird" if number < CASES // 2 else "dog"
        return Sample(
            question_id=f"{category}/{number:03}",
            category=category,
            question=question(entity(number)),
            answer=answer_text(entity(number), box),
            image=b"a picture",
            entity=entity(number),
            split="validation",
            seen=category == "bird",
        )

    benchmark = tmp_path / "validation.parquet"
    write_rows(benchmark, (row(number) for number in range(CASES)))
    log = io.StringIO()
    evaluated: list[str] = []

    def evaluate_champion(champion: Any) -> Path:
        evaluated.append(champion.digest)
        done = tmp_path / "evaluations" / "champion" / "test"
        return done if done.exists() else evaluate("champion/test", range(50), model=champion.digest)

    return World(
        tracker=Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "tests"),
        store=store,
        service=Service(),
        inputs=Inputs(
            base=arm("base", 60),
            arms=[arm("sft", 90), arm("cot_sft", 140), arm("grpo", 138)],
            benchmark=benchmark,
            evaluate_champion=evaluate_champion,
        ),
        out=tmp_path / "promotion",
        log=log,
        context=Context(seed=0, progress=Progress("promotion", log), recipe_hash="sha256:recipe", inputs={}),
        evaluated=evaluated,
    )
