"""One real server for all tests of the folder: importing KServe alone takes seconds."""

import base64
import io
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from deepperception.artifacts.checkpoints import Interface, write_interface
from deepperception.serving.server import claim_port

SCRIPT = Path(__file__).with_name("scripted_server.py")
START_S = 60


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

    def chat(self, content: object, **more: object) -> tuple[int, dict]:
        """One message to the OpenAI route, whose answer comes whole."""
        body = {"messages": [{"role": "user", "content": content}], **more}
        return self.call("/openai/v1/chat/completions", json.dumps(body).encode())

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/metrics", timeout=30) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{re.escape(name)}(\{{| )", line))

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


@contextmanager
def process(folder: Path, *, gate: str | None = "open", **asked) -> Iterator[tuple[Server, subprocess.Popen]]:
    """The scripted server with settings of its own, listening; ready, too, unless `gate` is None."""
    port = claim_port("127.0.0.1", 0)
    if gate is not None:
        (folder / "gate").write_text(gate)
    checkpoint = folder / "checkpoint"
    command = [sys.executable, str(SCRIPT), str(checkpoint), str(port), str(folder / "gate"), json.dumps(asked)]
    if not checkpoint.exists():
        make_checkpoint(checkpoint)
    with (folder / "log").open("w+b") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log)
        running = Server(port, {}, folder / "slow", folder / "log")

        def answers() -> bool:
            assert started.poll() is None, running.log.read_text()
            try:
                status, _ = running.before_ready["model"] = running.call("/v1/models/deepperception")
            except urllib.error.URLError:
                return False
            return gate is None or status == 200

        try:
            wait_until(answers, "the server does not get ready")
            yield running, started
        finally:
            started.kill()
            started.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with process(folder, gate=None) as (running, started):
        running.before_ready["predict"] = running.predict(instance())
        (folder / "gate").write_text("open")
        wait_until(lambda: running.call("/v1/models/deepperception")[0] == 200, "the server does not get ready")
        yield running
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=30) == 0, "SIGTERM is an orderly end"
