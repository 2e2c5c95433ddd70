"""The servers in their images, asked over HTTP."""

from __future__ import annotations

import base64
import io
import random

import pytest
import requests

from deepperception.bestiary.scenes import draw_scene

from .containers import Built

pytestmark = pytest.mark.docker


def test_the_server_answers_with_the_base_checkpoint(server_image: Built) -> None:
    picture = draw_scene(random.Random(1)).picture
    assert picture is not None
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    instance = {"image": {"b64": base64.b64encode(buffer.getvalue()).decode()}, "entity": "Gloffule"}
    command = ("deepperception", "serve", "--model", "package://deepperception.bestiary/base")
    with server_image.started(8080, *command, "--host", "0.0.0.0", "--port", "8080") as server:
        server.wait_healthy()
        answer = requests.post(
            f"{server.url}/v1/models/deepperception:predict", json={"instances": [instance]}, timeout=120
        )
        assert answer.status_code == 200, server.logs()
        (prediction,) = answer.json()["predictions"]
        assert prediction["text"]
        assert prediction["box"] is None or len(prediction["box"]) == 4


def test_a_server_without_a_model_says_so_and_ends(server_image: Built) -> None:
    done = server_image.run()
    assert done.returncode == 1
    assert done.stderr.startswith("error: /mnt/models: "), done.stderr


def test_the_tracking_server_is_healthy_and_takes_a_run(tracking_image: Built) -> None:
    runs = ("--env", "MLFLOW_BACKEND_STORE_URI=sqlite:////work/mlflow.db")
    artifacts = ("--env", "MLFLOW_DEFAULT_ARTIFACT_ROOT=/work/artifacts")
    with tracking_image.started(5000, options=(*runs, *artifacts)) as server:
        server.wait_healthy()
        health = requests.get(f"{server.url}/health", timeout=30)
        assert (health.status_code, health.text) == (200, "OK"), server.logs()
        api = f"{server.url}/api/2.0/mlflow"
        made = requests.post(f"{api}/experiments/create", json={"name": "here"}, timeout=30)
        assert made.status_code == 200, server.logs()
        run = requests.post(f"{api}/runs/create", json={"experiment_id": made.json()["experiment_id"]}, timeout=30)
        assert run.json()["run"]["info"]["status"] == "RUNNING"
