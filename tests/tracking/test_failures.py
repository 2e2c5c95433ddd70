"""What a server's answers mean: wait and send later, or say it at once."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking import Pipeline, Recorder, Refused, Tracker, Unavailable


class StandIn(ThreadingHTTPServer):
    """Answers every request in one way, and counts them."""

    status, body, hang_up = 200, "{}", False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def will_answer(self, status: int, body: str) -> None:
        self.status, self.body = status, body


class _Answer(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.server.hang_up:
            self.close_connection = True
            return
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


def told(code: str, message: str) -> str:
    return json.dumps({"error_code": code, "message": message})


@pytest.mark.parametrize(
    ("status", "body", "kind", "says", "requests", "why"),
    [
        (401, "You are not authenticated.", InputError, "MLFLOW_TRACKING_PASSWORD", 1, "no use in trying again"),
        (403, told("PERMISSION_DENIED", "Permission denied"), InputError, "forbids it", 1, "nor here"),
        (403, "Invalid Host header", InputError, "allowed hosts", 1, "the server does not go by this name"),
        (400, told("INVALID_PARAMETER_VALUE", "a bad name"), Refused, "a bad name", 1, "the same again is as bad"),
        (404, "<html>nothing here</html>", Refused, "404", 1, "some other server"),
        (200, "<html>please log in</html>", Refused, "please log in|JSON", 1, "some other server, too"),
        (413, "too large", Refused, "413", 1, "a proxy's limit"),
        (429, "later", Unavailable, "has a fault", 3, "it asks for patience"),
        (500, told("INTERNAL_ERROR", "no database"), Unavailable, "has a fault", 3, "its database may come back"),
        (503, "starting", Unavailable, "has a fault", 3, "it is starting"),
    ],
)
def test_an_answer_is_one_sentence(
    stand_in: StandIn, status: int, body: str, kind: type[Exception], says: str, requests: int, why: str
) -> None:
    stand_in.will_answer(status, body)
    with pytest.raises(kind, match=says) as raised:
        Tracker(stand_in.url, "tests").runs.check()
    assert "\n" not in str(raised.value)
    assert len(stand_in.asked) == requests, why


@pytest.mark.parametrize(("status", "body"), [(404, "<html>nothing here</html>"), (200, "<html>please log in</html>")])
def test_a_server_of_another_kind_is_told_before_the_work(
    stand_in: StandIn, tmp_path: Path, status: int, body: str
) -> None:
    stand_in.will_answer(status, body)
    step = Recorder(stand_in.url, "tests", tmp_path, Pipeline("key", "demo"), "sft", print)
    with pytest.raises(InputError, match="does not answer as an MLflow server does"):
        step.greet()


def test_a_connection_that_breaks_is_a_server_that_is_away(stand_in: StandIn) -> None:
    stand_in.hang_up = True
    with pytest.raises(Unavailable, match="does not answer") as raised:
        Tracker(stand_in.url, "tests").runs.check()
    assert not raised.value.answered


def test_a_server_that_takes_too_long_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # takes connections and says nothing
        pytest.raises(Unavailable, match="does not answer"),
    ):
        Tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", "tests").runs.check()


def test_patience_lasts_until_the_server_is_back(stand_in: StandIn) -> None:
    stand_in.will_answer(503, "starting")
    found: list[Any] = []
    said: list[str] = []
    tracker = Tracker(stand_in.url, "tests", patience_s=600, say=said.append)
    waiting = threading.Thread(target=lambda: found.append(tracker.alias("model", "champion")))
    waiting.start()
    while len(stand_in.asked) < 4:  # more than the transport tries by itself
        waiting.join(0.01)
    stand_in.will_answer(200, json.dumps({"registered_models": []}))
    waiting.join(60)
    assert found == [None]
    assert len(said) == 1 and said[0].endswith("Waiting for it, at most 600 s.")


@pytest.mark.parametrize("status", [400, 401, 404])
def test_patience_is_not_for_a_no(stand_in: StandIn, status: int) -> None:
    stand_in.will_answer(status, told("BAD_REQUEST", "no"))
    with pytest.raises((InputError, InfrastructureError)):
        Tracker(stand_in.url, "tests", patience_s=600).alias("model", "champion")
    assert len(stand_in.asked) == 1


def test_a_certificate_that_is_not_trusted_is_the_users_to_mend(stand_in: StandIn) -> None:
    with pytest.raises(InputError, match=r"TLS is not trusted .*MLFLOW_TRACKING_SERVER_CERT_PATH"):
        Tracker(stand_in.url.replace("http", "https"), "tests").runs.check()
