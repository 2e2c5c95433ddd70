"""A tracker on a database file and one on a real server, and records to write."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from deepperception.tracking import Outbox, Pipeline, Record, Tracker


def _load(name: str) -> Any:
    """A module of tests/services, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "services" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


Records = Callable[..., Record]


@pytest.fixture(autouse=True)
def no_injected_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One server for all tests: it takes half a minute to start. This process has its credentials."""
    module = _load("mlflow_server")
    if not module.is_installed():
        pytest.skip(module.MISSING)
    server = module.MlflowServer(tmp_path_factory.mktemp("server"))
    before = {name: os.environ.get(name) for name in server.credentials()}
    os.environ.update(server.credentials())
    server.start()
    try:
        yield server
    finally:
        server.kill()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """One database for all tests: making the tables takes a second."""
    return Tracker(f"sqlite:///{tmp_path_factory.mktemp('database') / 'mlflow.db'}", "tests")


@pytest.fixture(params=["database", pytest.param("server", marks=pytest.mark.mlflow_server)])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    """What holds on one must hold on the other."""
    if request.param == "database":
        return request.getfixturevalue("database")  # type: ignore[no-any-return]
    return Tracker(request.getfixturevalue("mlflow_server").url, "tests", patience_s=0)


@pytest.fixture
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(f"{request.node.name}", "demo", {"seed": 3, "sft": {"epochs": 1}}, {"recipe": "bestiary"})


@pytest.fixture
def record(pipeline: Pipeline) -> Records:
    def made(key: str = "sft sha256:1", **changes: Any) -> Record:
        given: dict[str, Any] = {
            "kind": "stage", "pipeline": pipeline, "stage": "sft", "name": "sft", "key": key,
            "time_ms": 2_000, "started_ms": 1_000, "params": {"learning_rate": 0.1}, "metrics": {"accuracy": 0.5},
        }  # fmt: skip
        return Record(**(given | changes))

    return made


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "work")


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Bound and never listened on: nobody answers, and nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
