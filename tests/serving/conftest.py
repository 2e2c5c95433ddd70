"""One real server for all tests of the folder: importing KServe alone takes seconds."""

import base64
import io
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from deepperception.artifacts.checkpoints import Interface, write_interface
from deepperception.serving.server import claim_port

SCRIPT = Path(__file__).with_name("scripted_server.py")
START_S = 120


@dataclass
class Server:
    port: int
    before_ready: dict[str, tuple[int, dict]]
    slow: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, dict]:
        """Status and parsed JSON; a POST where there is a body."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def predict(self, *instances: object) -> tuple[int, dict]:
        return self.call(
            "/v1/models/deepperception:predict",
            json.dumps({"instances": instances}).encode(),
            {"content-type": "application/json"},
        )


def picture(width: int = 80, height: int = 40, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "seagreen").save(buffer, kind, **options)
    return buffer.getvalue()


def instance(image: bytes | None = None, entity: str = "Boeing 777") -> dict:
    return {"image": {"b64": base64.b64encode(image or picture()).decode()}, "entity": entity}


def make_checkpoint(folder: Path) -> Path:
    """A folder that passes for a checkpoint, with an interface of its own; nothing in it can be run."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    write_interface(folder, Interface(prompt="r1", box_step=25, max_pixels=12_544, max_new_tokens=77))
    return folder


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("server")
    gate = folder / "gate"
    port = claim_port("127.0.0.1", 0)
    log = (folder / "log").open("w+b")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(make_checkpoint(folder / "checkpoint")), str(port), str(gate)],
        stdout=log,
        stderr=log,
    )
    running = Server(port, {}, folder / "slow", folder / "log")

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            running.before_ready["model"] = running.call("/v1/models/deepperception")
        except urllib.error.URLError:
            return False
        return True

    try:
        wait_until(listens, "the server does not listen")
        running.before_ready["predict"] = running.predict(instance())
        gate.write_text("open")
        wait_until(lambda: running.call("/v1/models/deepperception")[0] == 200, "the server does not get ready")
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, "SIGTERM is an orderly end"
    finally:
        process.kill()
        process.wait()
        log.close()
