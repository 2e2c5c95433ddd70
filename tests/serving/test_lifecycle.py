"""How a server begins and ends: golden pictures before it is ready, a drain before it is gone, a model by reference."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepperception.artifacts import S3Settings, open_store, resolve
from deepperception.artifacts.datasets import write_rows
from deepperception.grounding import Box, Sample, answer_text, question
from deepperception.progress import Progress
from deepperception.serving.server import claim_port

from .conftest import SCRIPT, Server, instance, make_checkpoint, picture, process, wait_until


def golden(path: Path, box: Box, entity: str = "ant") -> Path:
    """A dataset file of one picture; the scripted engine always finds (250,100),(500,900)."""
    text, answer = question(entity), answer_text(entity, box)
    row = Sample(
        question_id="1",
        category="ant",
        question=text,
        answer=answer,
        image=picture(),
        entity=entity,
        split="test",
        seen=True,
    )
    write_rows(path, [row])
    return path


def test_a_model_that_gets_its_golden_pictures_wrong_never_gets_ready(tmp_path):
    (tmp_path / "gate").write_text("open")
    asked = {"settings": {"golden": str(golden(tmp_path / "golden.parquet", Box(600, 100, 900, 900)))}}
    command = [sys.executable, str(SCRIPT), str(make_checkpoint(tmp_path / "checkpoint")), "0", str(tmp_path / "gate")]
    ended = subprocess.run([*command, json.dumps(asked)], capture_output=True, timeout=120, text=True)
    assert ended.returncode == 4
    assert ended.stderr.splitlines()[-1].startswith("the model answers 0 of 1 golden pictures right")


def test_drained_with_a_token_and_golden_pictures_on_its_page(tmp_path):
    """One server for several things: a start takes seconds."""
    file = golden(tmp_path / "golden.parquet", Box(250, 100, 500, 900), entity="golden ant")
    with process(tmp_path, settings={"golden": str(file), "token": "let-me-in"}) as (server, started):
        token = {"authorization": "Bearer let-me-in"}
        assert server.predict(instance())[0] == 401
        assert server.call("/page/examples.json")[0] == 401
        listed = server.call("/page/examples.json", headers=token)[1]
        assert listed == [{"image": "page/example-0", "entity": "golden ant"}]
        body = json.dumps({"instances": [instance(entity="slow")]}).encode()
        with ThreadPoolExecutor(1) as client:
            taken = client.submit(server.call, "/v1/models/deepperception:predict", body, token)
            wait_until(server.slow.exists, "the engine was not asked")
            started.send_signal(signal.SIGTERM)
            wait_until(lambda: server.call("/v2/health/ready")[0] == 503, "it takes on more")
            status, answer = server.call("/v1/models/deepperception:predict", body, token)
            assert (status, answer) == (503, {"error": "the server is stopping; ask again in a moment."})
            assert server.call("/v1/models/deepperception")[0] == 503
            assert server.call("/v2/health/live")[0] == 200, "no reason to kill it"
            server.slow.unlink()
            assert taken.result()[0] == 200
        assert started.wait(timeout=30) == 0


def test_a_connection_that_says_nothing_is_cut(tmp_path):
    with process(tmp_path, limits={"headers_s": 0.2}) as (server, _):
        for words in (b"", b"POST / HTTP/1.1\r\nhost: a\r\nx-slow: "):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
                connection.sendall(words)
                assert connection.recv(1) == b"", words
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            said = connection.makefile("rb").read()
        assert said.startswith(b"HTTP/1.1 400") and list(json.loads(said.partition(b"\r\n\r\n")[2])) == ["error"]


def test_a_folder_with_another_digest_is_refused(tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint")
    ended = command("serve", "--model", folder, "--digest", "sha256:" + "0" * 64)
    assert ended.returncode == 1
    assert "the digest is sha256:" in ended.stderr and "copy the checkpoint again" in ended.stderr


@pytest.mark.parametrize("content", ["", " \n", "two words", "t\u00f6ken"])
def test_what_is_no_token_lets_nobody_serve(tmp_path, content):
    (tmp_path / "token").write_text(content, encoding="utf-8")
    from click.testing import CliRunner

    from deepperception.cli import cli

    folder = make_checkpoint(tmp_path / "checkpoint")
    ended = CliRunner().invoke(cli, ["serve", "--model", str(folder), "--token-file", str(tmp_path / "token")])
    assert ended.exit_code == 1 and "this is no token" in ended.output


@pytest.mark.s3
def test_a_model_of_the_store_is_fetched_verified_and_served(s3_bucket, tmp_path):
    """As a process, over a real S3 server; a model whose bytes have changed is not served."""
    store = open_store(f"s3://{s3_bucket}/store", S3Settings.from_environment(), Progress("store"))
    ref = store.put(resolve("package://deepperception.bestiary/base"))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    port = claim_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "deepperception.cli", "serve", "--model", str(ref), "--port", str(port)]
    with (tmp_path / "log").open("w+b") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            server = Server(port, {}, tmp_path / "slow", tmp_path / "log")
            wait_until(lambda: started.poll() is not None or is_ready(server), "it does not get ready")
            status, answer = server.predict(instance(picture(112, 112), "Gloffule"))
            assert (status, list(answer["predictions"][0])) == (200, ["box", "box_1000", "reasoning", "text"])
            started.terminate()
            assert started.wait(timeout=60) == 0
        finally:
            started.kill()
            started.wait()
    other = str(ref).rpartition("#")[0] + "#sha256:" + "0" * 64
    ended = subprocess.run([*command[:5], other], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "error: " in ended.stderr and "Traceback" not in ended.stderr


def is_ready(server: Server) -> bool:
    try:
        return server.call("/v2/health/ready")[0] == 200
    except OSError:
        time.sleep(0.2)
        return False


def command(*arguments: object) -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "deepperception.cli", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, timeout=120)
