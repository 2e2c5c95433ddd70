"""The server image with a model out of a real S3 server."""

from __future__ import annotations

import base64
import io
import subprocess

import pytest
import requests
from PIL import Image
from services.rgw import Rgw

from deepperception.artifacts import S3Settings, open_store, resolve
from deepperception.progress import Progress

from .containers import Built

pytestmark = [pytest.mark.docker, pytest.mark.s3]


def test_the_server_fetches_its_model_from_the_store_and_verifies_it(
    server_image: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway listens on all addresses; the container finds it at the engine's own side of the bridge."""
    if missing := Rgw.missing():
        pytest.skip(missing)
    docker = server_image.docker
    host = docker.call("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    with Rgw.started("0.0.0.0") as gateway:
        key = gateway.create_user("models")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret_key)
        from minio import Minio

        address = gateway.endpoint.removeprefix("http://")
        Minio(address, key.access_key, key.secret_key, secure=False, region="us-east-1").make_bucket("models")
        store = open_store("s3://models/store", S3Settings(endpoint=gateway.endpoint), Progress("store"))
        ref = store.put(resolve("package://deepperception.bestiary/base"))
        told = {
            "AWS_ENDPOINT_URL": f"http://{host}:{gateway.port}",
            "AWS_ACCESS_KEY_ID": key.access_key,
            "AWS_SECRET_ACCESS_KEY": key.secret_key,
        }
        options = tuple(part for name, value in told.items() for part in ("--env", f"{name}={value}"))
        command = ("deepperception", "serve", "--model", str(ref), "--host", "0.0.0.0", "--port", "8080")
        with server_image.started(8080, *command, options=options) as server:
            server.wait_healthy()
            answer = requests.post(
                f"{server.url}/v1/models/deepperception:predict", json={"instances": [_instance()]}, timeout=120
            )
            assert (answer.status_code, len(answer.json()["predictions"])) == (200, 1), server.logs()
            assert requests.get(server.url, timeout=30).text.startswith("<!doctype html>")
        wrong = f"{ref.uri}#sha256:{'0' * 64}"
        given = server_image.command(*command[:3], wrong, options=options)
        ended = subprocess.run(given, env=docker.environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 1 and "error: " in ended.stderr and "Traceback" not in ended.stderr


def _instance() -> dict[str, object]:
    buffer = io.BytesIO()
    Image.new("RGB", (112, 112), "teal").save(buffer, "PNG")
    return {"image": {"b64": base64.b64encode(buffer.getvalue()).decode()}, "entity": "Gloffule"}
