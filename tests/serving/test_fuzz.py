"""Whatever comes, the server answers with a result or one sentence, and goes on: schemathesis, bodies gone wrong."""

import http.client
import json
import socket

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from . import malformed
from .conftest import Server, instance, wait_until

ORDINARY, MANY = 300, 10_000
POSITIVE = schemathesis.GenerationMode.POSITIVE
SEARCH = settings(
    max_examples=10, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def post(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[int, dict]:
    connection.request("POST", path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def check(status: int, answer: dict, about: str) -> None:
    assert malformed.BY_DESIGN(status), f"{about}: {status} {answer}"
    if status != 200:
        assert list(answer) == ["error"], about
        sentence = answer["error"]
        assert isinstance(sentence, str) and sentence.endswith(".") and "Traceback" not in sentence, about
        assert "\n" not in sentence and len(sentence) < 1_000, about


def send(server: Server, count: int) -> dict[int, int]:
    seen: dict[int, int] = {}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for seed in range(count):
        route, body = malformed.case(seed)
        status, answer = post(connection, route, body)
        check(status, answer, f"case {seed}, {route}")
        seen[status] = seen.get(status, 0) + 1
    connection.close()
    return seen


def test_malformed_bodies_get_one_sentence(server):
    seen = send(server, ORDINARY)
    assert seen.get(200, 0) and seen.get(400, 0) and seen.get(413, 0) and seen.get(422, 0), "all kinds of answers came"
    assert server.predict(instance())[0] == 200


@pytest.mark.e2e
def test_ten_thousand_malformed_bodies_leave_no_trace(server):
    before = memory_bytes(server)
    seen = send(server, MANY)
    print(f"answers by status: {dict(sorted(seen.items()))}; memory {before:,} to {memory_bytes(server):,} bytes")
    assert server.predict(instance())[0] == 200
    assert memory_bytes(server) < before + 300_000_000
    assert "Traceback" not in server.log.read_text().replace("out of memory at 0x7f", "")


def memory_bytes(server: Server) -> float:
    return server.metric("process_resident_memory_bytes")


def test_a_hundred_megabytes_are_refused_unread(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", malformed.ROUTES[0])
    connection.putheader("content-length", str(100_000_000))
    connection.endheaders(b'{"instances": [')
    response = connection.getresponse()
    check(response.status, json.load(response), "100 MB")
    assert response.status == 413
    connection.close()


def test_a_hundred_clients_that_stop_halfway_keep_nobody_waiting(server):
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(100)]
    for connection in slow:
        connection.sendall(
            b"POST /v1/models/deepperception:predict HTTP/1.1\r\nhost: a\r\ncontent-length: 900\r\n\r\n{"
        )
    assert server.predict(instance())[0] == 200
    for connection in slow:
        connection.close()
    wait_until(lambda: server.metric("deepperception_uploads") == 0, "those who left are waited for")


@pytest.fixture(scope="module")
def document(server):
    return server.call("/openapi.json")[1]


def test_the_document_names_the_routes_and_nothing_that_changes_the_server(document):
    assert set(malformed.ROUTES) <= set(document["paths"])
    posts = [path for path, methods in document["paths"].items() if set(methods) - {"get"}]
    assert sorted(posts) == sorted(malformed.ROUTES)


def test_schemathesis_finds_no_answer_that_is_not_described(server, document):
    asked = []
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = result.ok()
        about = document["paths"][operation.path][operation.method]
        # What takes no body takes any text in its path, and cannot be asked wrongly.
        modes = list(schemathesis.GenerationMode) if "requestBody" in about else [POSITIVE]
        for mode in modes:

            @SEARCH
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case):
                response = case.call(base_url=server.url)
                asked.append(case.operation.path)
                about = f"{case.method} {case.operation.path}: {response.status_code} {response.text[:200]}"
                assert malformed.BY_DESIGN(response.status_code) or response.status_code in (404, 405), about
                if response.status_code >= 400:
                    answer = response.json()
                    assert list(answer) == ["error"] and answer["error"].endswith("."), about

            ask()
    assert set(asked) == set(document["paths"])
