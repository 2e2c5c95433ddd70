"""Checkpoints from a hub: one that answers on this machine, for the real one is not asked in tests."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import check_checkpoint
from deepperception.artifacts.hub import HubRef, fetch
from deepperception.errors import InfrastructureError, InputError

pytest.importorskip("huggingface_hub", reason="the extra 'train' is not installed")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REF = HubRef("org/tiny", COMMIT)
WEIGHTS = (2).to_bytes(8, "little") + b"{}"


class Hub:
    """One repository, as the hub's API shows it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {
            "config.json": json.dumps({"model_type": "qwen2_vl"}).encode(),
            "model.safetensors": WEIGHTS,
            "tokenizer.json": b"{}",
        }
        self.status = 200
        self.fetched: list[str] = []
        self.url = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.status != 200:
            code = {401: "GatedRepo", 404: "RepoNotFound"}.get(self.status, "")
            return self.status, {"X-Error-Code": code} if code else {}, b"{}"
        if path.startswith("/api/models/org/tiny/revision/"):
            files = [{"rfilename": name} for name in self.files]
            told = {"id": "org/tiny", "sha": COMMIT, "siblings": files, "private": False, "tags": [], "downloads": 0}
            return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
        if path.startswith(f"/api/models/org/tiny/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        name = path.split("?")[0].rpartition(f"/resolve/{COMMIT}/")[2]
        if name in self.files:
            content = self.files[name]
            return 200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}, content
        return 404, {"X-Error-Code": "EntryNotFound"}, b""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    held = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            status, headers, content = held.answer(self.path)
            if self.command == "GET" and "/resolve/" in self.path:
                held.fetched.append(self.path.split("?")[0].rpartition("/")[2])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_GET = do_HEAD = _any

        def log_message(self, *_: Any) -> None:
            pass

    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_port}"
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_commit_becomes_a_checkpoint(hub: Hub) -> None:
    folder = fetch(REF, endpoint=hub.url)
    check_checkpoint(folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_what_could_run_stays_on_the_hub(hub: Hub) -> None:
    hub.files |= {"modeling.py": b"import os", "pytorch_model.bin": b"pickle", "onnx/model.onnx": b"x"}
    folder = fetch(REF, endpoint=hub.url)
    assert {path.name for path in folder.rglob("*")} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert set(hub.fetched) == {"config.json", "model.safetensors", "tokenizer.json"}
    check_checkpoint(folder)


def test_weights_that_are_pickled_are_refused_before_anything_is_fetched(hub: Hub) -> None:
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    with pytest.raises(InputError, match=r"brings no \*\.safetensors"):
        fetch(REF, endpoint=hub.url)
    assert hub.fetched == []


def test_code_asked_for_by_the_configuration_is_refused(hub: Hub) -> None:
    hub.files["config.json"] = json.dumps({"model_type": "qwen2_vl", "auto_map": {"AutoModel": "x.Y"}}).encode()
    with pytest.raises(InputError, match="auto_map"):
        check_checkpoint(fetch(REF, endpoint=hub.url))


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (404, InputError, "the hub has no such commit"),
        (401, InputError, "asks for a token"),
        (500, InfrastructureError, "does not answer as it should"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub: Hub, status: int, kind: type[Exception], says: str) -> None:
    hub.status = status
    with pytest.raises(kind, match=says) as told:
        fetch(REF, endpoint=hub.url)
    assert "\n" not in str(told.value)


def test_a_hub_that_is_not_there_is_one_sentence(hub: Hub) -> None:
    with pytest.raises(InfrastructureError, match="does not answer") as told:
        fetch(REF, endpoint="http://127.0.0.1:9")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hf://org/tiny", "no commit"),
        ("hf://org/tiny@main", "a branch moves"),
        (f"hf://tiny@{COMMIT}", "no organisation"),
        (f"hf://org/tiny@{COMMIT[:7]}", "an abbreviation"),
        (f"https://hub/org/tiny@{COMMIT}", "an address of a page"),
    ],
)
def test_only_a_fixed_commit_is_a_reference(text: str, why: str) -> None:
    with pytest.raises(InputError, match="hf://ORG/NAME@COMMIT"):
        HubRef.parse(text)
    assert str(HubRef.parse(str(REF))) == str(REF), why
