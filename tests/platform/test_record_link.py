"""The link from a cluster's run to its page in MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from deepperception.infra import Infra
from deepperception.platform.record_link import record_of_run
from deepperception.platform.workplace import pipeline_key
from deepperception.recipe import Recipe, load_recipe

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")


@contextmanager
def mlflow_that_knows(key: str) -> Iterator[str]:
    """MLflow's API, as far as a look for one run needs it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path.split("?")[0] == "/api/2.0/mlflow/experiments/get-by-name"
            self._answer({"experiment": {"experiment_id": "7", "name": "deepperception", "lifecycle_stage": "active"}})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            info = {"run_id": "4711", "run_uuid": "4711", "experiment_id": "7", "status": "RUNNING", "start_time": 1,
                    "lifecycle_stage": "active", "artifact_uri": "mlflow-artifacts:/7"}  # fmt: skip
            known = f"'{key}'" in asked["filter"] and asked["experiment_ids"] == ["7"]
            self._answer({"runs": [{"info": info, "data": {}}]} if known else {})

        def _answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def bestiary() -> Recipe:
    return load_recipe("bestiary", seed=3)


def started_with(recipe: Recipe, seed: Any = 3) -> Any:
    return SimpleNamespace(runtime_config=SimpleNamespace(parameters={"recipe": recipe.to_json(), "seed": seed}))


def infra_at(tracking: str, ui: str | None = None) -> Infra:
    text = f"""
    runner: kubeflow
    work_dir: /work
    store: s3://models/store
    tracking_uri: {tracking}
    kubeflow: {{endpoint: "http://127.0.0.1:9", tracking_ui: {json.dumps(ui)}}}
    """
    return Infra.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize("seed", [3, 3.0])  # numbers in Kubeflow's answers have a point
def test_the_run_is_found_by_recipe_and_seed_and_linked(bestiary: Recipe, seed: Any) -> None:
    with mlflow_that_knows(pipeline_key(bestiary)) as url:
        told = record_of_run(
            infra_at("http://mlflow.deepperception.svc.cluster.local:5000", url), started_with(bestiary, seed)
        )
        assert told == f"{url}/#/experiments/7/runs/4711  RUNNING"
        other = record_of_run(infra_at(url), started_with(bestiary, 4))
        assert "no record of this run yet" in other


def test_where_mlflow_cannot_be_asked_it_says_so(bestiary: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    inside = record_of_run(infra_at("http://mlflow.deepperception.svc.cluster.local:5000"), started_with(bestiary))
    assert "kubeflow.tracking_ui names MLflow's address" in inside
    dead = record_of_run(infra_at("http://127.0.0.1:9"), started_with(bestiary))
    assert "not asked for the run: MLflow at http://127.0.0.1:9 does not answer" in dead


def test_a_run_of_something_else_has_no_link() -> None:
    stranger = SimpleNamespace(runtime_config=SimpleNamespace(parameters={"recipe": "{}"}))
    assert "not started with a recipe" in record_of_run(infra_at("http://127.0.0.1:9"), stranger)
    assert "not started with a recipe" in record_of_run(infra_at("x"), SimpleNamespace(runtime_config=None))
