"""The model server as a subprocess, and its client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deepperception.errors import InfrastructureError
from deepperception.grounding import Box
from deepperception.platform.local_server import LocalServer
from deepperception.promotion import golden

BOX = [100, 100, 300, 300]


class Answer(BaseHTTPRequestHandler):
    """Finds BOX on every picture, as a service does."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["instances"]
        assert self.path == "/v1/models/deepperception:predict"
        found = {"box": BOX, "box_1000": BOX, "reasoning": None, "text": ""}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"predictions": [found] * len(asked)}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_that_ends_early_leaves_its_last_word(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"ended before it was ready: error: .*no config.json"):
        LocalServer().serving(tmp_path).__enter__()


def test_golden_pictures_go_past_a_proxy(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    picture = golden.Golden("bird/1", b"a picture", "wren", Box(100, 100, 300, 300))
    assert golden.ask(LocalServer(), service, [picture], share=1.0).right == 1
