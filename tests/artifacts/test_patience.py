"""A server that is down is waited for, for as long as was said; what no waiting mends is told at once."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from services.scripted_http import Server, cut_off, status
from urllib3.exceptions import ProtocolError, SSLError

from deepperception.artifacts.patience import Patience, PatientPool
from deepperception.artifacts.s3_bucket import Bucket, Differs
from deepperception.artifacts.s3_settings import S3Settings
from deepperception.errors import InfrastructureError, InputError

REFUSED = ProtocolError("Connection aborted.", ConnectionRefusedError(111, "Connection refused"))


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s, self.pauses_s = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.now_s += seconds


class Waiting:
    """Patience of 60 s, on a clock of the test's own, and what it said."""

    def __init__(self) -> None:
        self.time, self.said = Time(), list[str]()
        self.patience = Patience(
            "http://s3", 60.0, self.said.append, clock=lambda: self.time.now_s, sleep=self.time.sleep
        )


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def failing(times: int, error: Exception) -> Callable[[], str]:
    """Fails so often, then gives an answer."""
    left = [error] * times

    def action() -> str:
        if left:
            raise left.pop()
        return "answer"

    return action


def test_an_outage_is_waited_for_and_said_once(waiting: Waiting) -> None:
    assert waiting.patience.attempt(failing(8, REFUSED)) == "answer"
    assert len(waiting.said) == 2
    assert waiting.said[0] == "waiting for http://s3 (connection refused), up to 60 s"
    assert waiting.said[1].startswith("http://s3 is back after ")
    assert len(waiting.time.pauses_s) == 8
    assert waiting.time.pauses_s[0] < 0.5 < 2 < max(waiting.time.pauses_s) <= 5, "the pauses grow, to a limit"
    assert waiting.patience.attempt(failing(0, REFUSED)) == "answer"
    assert len(waiting.said) == 2, "what goes well is not said"


def test_a_connection_that_was_closed_is_opened_again_without_a_word(waiting: Waiting) -> None:
    assert waiting.patience.attempt(failing(1, REFUSED)) == "answer"
    assert not waiting.said


def test_patience_has_an_end_and_cleaning_up_does_not_wait_again(waiting: Waiting) -> None:
    with pytest.raises(
        InfrastructureError, match=r"http://s3: the S3 server is down \(connection refused\), for longer than 60 s"
    ):
        waiting.patience.attempt(failing(1000, REFUSED))
    assert waiting.time.now_s == pytest.approx(60.0)
    with pytest.raises(InfrastructureError):
        waiting.patience.attempt(failing(1, REFUSED))
    assert waiting.time.now_s == pytest.approx(60.0)
    assert waiting.patience.attempt(failing(0, REFUSED)) == "answer"
    assert waiting.patience.attempt(failing(3, REFUSED)) == "answer", "a server that answered is waited for again"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"), "certificate is not trusted.*ca_file"),
        (SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "does not speak https"),
    ],
)
def test_a_wrong_address_is_not_waited_for(waiting: Waiting, error: Exception, message: str) -> None:
    with pytest.raises(InputError, match=message):
        waiting.patience.attempt(failing(1000, error))
    assert not waiting.said


def test_other_errors_pass(waiting: Waiting) -> None:
    with pytest.raises(KeyError):
        waiting.patience.attempt(failing(1, KeyError("x")))
    assert not waiting.time.pauses_s


def test_threads_say_an_outage_once(waiting: Waiting) -> None:
    both = threading.Barrier(2)

    def action(tries: list[int]) -> Callable[[], None]:
        def attempt() -> None:
            tries.append(1)
            if len(tries) <= 2:
                both.wait(10)  # both are down at the same time
                raise REFUSED

        return attempt

    threads = [threading.Thread(target=waiting.patience.attempt, args=[action([])]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 <= len(waiting.said) <= 4, "at most one outage, its end, and one more of a thread that came later"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an authority of one's own, for 127.0.0.1; with its key."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command, to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    parts = {"-keyout": folder / "key.pem", "-out": folder / "cert.pem", "-days": "2", "-subj": "/CN=test"}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += [str(word) for pair in parts.items() for word in pair]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both.pem").write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return folder / "both.pem"


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Server()) as running:
        yield running


@pytest.mark.parametrize("busy", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server: Server, waiting: Waiting, busy: int) -> None:
    server.answers = [cut_off, status(busy), status(200, b"here")]
    with PatientPool(waiting.patience, timeout=10) as pool:
        assert pool.urlopen("GET", server.url).data == b"here"
    assert len(server.requests) == 3
    assert f"status {busy}" in waiting.said[0]


@pytest.mark.parametrize("code", [301, 307, 400, 403, 404, 409, 501])
def test_every_other_answer_is_final(server: Server, waiting: Waiting, code: int) -> None:
    server.answers = [status(code, Location="http://elsewhere.invalid/")]
    with PatientPool(waiting.patience, timeout=10) as pool:
        assert pool.urlopen("GET", server.url).status == code
    assert len(server.requests) == 1
    assert not waiting.said


def test_nobody_at_the_address_is_said(waiting: Waiting) -> None:
    with socket.socket() as unused, PatientPool(waiting.patience, timeout=10) as pool:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(InfrastructureError, match=r"is down \(connection refused\)"):
            pool.urlopen("GET", f"http://127.0.0.1:{unused.getsockname()[1]}")


@pytest.fixture
def bucket(server: Server, waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return Bucket("models", "store", S3Settings(endpoint=server.url), waiting.patience)


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    certificate: Path, bucket: Bucket, waiting: Waiting
) -> None:
    with contextlib.closing(Server(certificate)) as server:
        server.answers = [status(200, b"here")]
        settings = S3Settings(endpoint=server.url)
        with pytest.raises(InputError, match=r"its certificate is not trusted; .* s3.ca_file"):
            Bucket("models", "store", settings, waiting.patience).read("x")
        trusting = settings.model_copy(update={"ca_file": certificate.with_name("cert.pem")})
        assert Bucket("models", "store", trusting, waiting.patience).read("x") == b"here"
    assert not waiting.said


def test_https_to_a_server_of_http_is_said(server: Server, bucket: Bucket, waiting: Waiting) -> None:
    server.answers = [status(200)]
    settings = S3Settings(endpoint=server.url.replace("http", "https"))
    with pytest.raises(InputError, match="does not speak https; give http://"):
        Bucket("models", "", settings, waiting.patience).read("x")


@pytest.mark.parametrize(("path_style", "start"), [(True, "http://s3:1/models/x?"), (False, "http://models.s3:1/x?")])
def test_the_bucket_is_in_the_path_or_in_the_name(
    bucket: Bucket, waiting: Waiting, path_style: bool, start: str
) -> None:
    settings = S3Settings(endpoint="http://s3:1", path_style=path_style)
    styled = Bucket("models", "", settings, waiting.patience)
    assert styled._client.presigned_get_object("models", "x").startswith(start)


def fetched(bucket: Bucket, path: Path, content: bytes) -> int:
    moved: list[int] = []
    sha256 = hashlib.sha256(content).hexdigest()
    bucket.download("object", path, size=len(content), sha256=sha256, moved=moved.append)
    assert path.read_bytes() == content
    return sum(moved)


def test_a_download_goes_on_where_it_broke(server: Server, bucket: Bucket, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000

    def rest(request: BaseHTTPRequestHandler) -> None:
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        status(206, content[start:])(request)

    broken = status(200, content[:1_500_000], Content_Length=str(len(content)))
    server.answers = [broken, status(503), cut_off, rest]
    assert fetched(bucket, tmp_path / "file", content) == len(content)
    assert [asked for _, asked in server.requests] == [None, *["bytes=1048576-"] * 3], (
        "whole blocks are not asked for again"
    )


@pytest.mark.parametrize(
    "answer",
    [
        status(200, b"0123456780"),
        status(200, b"012345678"),
        status(200, b"01234567890"),
        status(404, b"<Error><Code>NoSuchKey</Code></Error>", Content_Type="application/xml"),
    ],
)
def test_another_object_is_no_download(server: Server, bucket: Bucket, tmp_path: Path, answer: Any) -> None:
    server.answers = [answer]
    with pytest.raises(Differs):
        fetched(bucket, tmp_path / "file", b"0123456789")


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("NoSuchBucket", InputError, "there is no bucket 'models'; create it"),
        ("AccessDenied", InputError, "s3://models/store/: the user of AWS_ACCESS_KEY_ID may not list objects here"),
        ("SignatureDoesNotMatch", InputError, "the key is not accepted"),
        ("RequestTimeTooSkewed", InputError, "set the clock"),
        ("AuthorizationHeaderMalformed", InputError, "correct s3.region"),
        ("QuotaExceeded", InputError, "the store is full"),
        ("SomethingElse", InfrastructureError, "could not list objects"),
    ],
)
def test_a_refusal_is_one_sentence(
    server: Server, bucket: Bucket, code: str, kind: type[Exception], message: str, waiting: Waiting
) -> None:
    server.answers = [status(400, f"<Error><Code>{code}</Code></Error>".encode(), Content_Type="application/xml")]
    with pytest.raises(kind, match=message) as told:
        bucket.list("")
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)
    assert not waiting.said


@pytest.mark.parametrize("answer", [status(200, b"<html>"), status(404, b"<html>", Content_Type="text/html")])
def test_something_that_is_no_s3_server_is_said_to_be_none(server: Server, bucket: Bucket, answer: Any) -> None:
    server.answers = [answer]
    with pytest.raises(InfrastructureError, match="no answer of an S3 server"):
        bucket.list("")
