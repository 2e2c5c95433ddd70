"""A teacher behind an OpenAI-compatible server: busy, failing, then gone in the middle of a run; nothing paid twice."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts.stage import Context
from deepperception.errors import InputError
from deepperception.progress import Progress
from deepperception.synthesis import run as stage
from deepperception.synthesis.config import SynthesisConfig


class Model:
    """Names the target of whatever it is asked, once it has refused with each of `troubles`; `paid` counts answers."""

    def __init__(self) -> None:
        self.troubles: list[int] = []
        self.paid = 0
        self.gone_after: int | None = None
        self.lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> tuple[int, bytes]:
        with self.lock:
            if self.troubles:
                return self.troubles.pop(), b"{}"
            if self.gone_after is not None and self.paid >= self.gone_after:
                return 403, b"{}"  # the account is empty
            self.paid += 1
        text = body["messages"][-1]["content"][-1]["text"]
        target = re.search(r"^Target: (.+)$", text, re.MULTILINE)
        assert target is not None
        reply = {"choices": [{"message": {"content": f"It is {target[1]}"}}]}
        return 200, json.dumps(reply).encode()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def url(model: Model) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content = model.answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def run(root: Path, url: str, out: Path) -> tuple[Any, str]:
    config = SynthesisConfig.model_validate(
        {
            "source": {"path": root},
            "rows": {"sft": 9, "rl": 2, "validation": 2, "test": 2},
            "candidates": {2: 1},
            "canvas": {"max_side": 64},
            "teacher": {"kind": "openai", "batch_size": 4, "options": {"url": url, "concurrency": 2}},
        }
    )
    said = io.StringIO()
    context = Context(seed=0, progress=Progress("synthesis", said), recipe_hash="r", inputs={})
    return stage.run(config, out, context, box_step=1), said.getvalue()


def test_a_busy_and_failing_server_is_asked_again(photo_root: Path, tmp_path: Path, url: str, model: Model) -> None:
    model.troubles = [429, 500]
    manifest, said = run(photo_root, url, tmp_path / "data")
    assert "teacher: 9 asked = 9 kept" in said
    assert model.paid == 9
    assert manifest.backend["teacher"]["engine"] == "openai"


def test_what_was_answered_before_the_server_went_is_not_paid_for_again(
    photo_root: Path, tmp_path: Path, url: str, model: Model
) -> None:
    model.gone_after = 4  # one whole batch
    with pytest.raises(InputError, match="put a key that it accepts"):
        run(photo_root, url, tmp_path / "data")
    model.gone_after = None
    _, said = run(photo_root, url, tmp_path / "data")
    assert "teacher: 9 asked = 9 kept" in said
    assert model.paid == 9
