"""An OpenAI-compatible server, on its good days and its bad ones."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator

import pytest
from PIL import Image
from services.openai_server import ChatServer, completion, half, hang_up, send, status, text_of

from deepperception.errors import InfrastructureError, InputError
from deepperception.inference.caller import Caller
from deepperception.inference.endpoint import KEY_VARIABLE, Endpoint
from deepperception.inference.engine import Decoding, Request
from deepperception.inference.openai_engine import OpenAIEngine, data_url
from deepperception.settings import parse

GREEDY = Decoding(max_new_tokens=12)


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def serve() -> Iterator:
    servers = []

    def started(*script, **options) -> ChatServer:
        servers.append(ChatServer(*script, **options))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each pause would have been; none is."""
    waits: list[float] = []
    original = Caller.__init__

    def patched(self, endpoint, say, **_):
        original(self, endpoint, say, pause=waits.append)

    monkeypatch.setattr(Caller, "__init__", patched)
    return waits


def engine(server: ChatServer, **settings) -> OpenAIEngine:
    said: list[str] = []
    made = OpenAIEngine(Endpoint(url=server.url, model="tiny", **settings), say=said.append)
    made.said = said
    return made


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 120, 60)).save(file, kind, **options)
    return file.getvalue()


def asks(count: int, **fields) -> list[Request]:
    return [Request(f"question {number}", picture(), name=f"case {number}", **fields) for number in range(count)]


def test_what_is_asked(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " secret \n")
    server = serve()
    request = Request("And now?", picture(), seed=7, before=(("Which one?", "The left one."),))
    decoding = Decoding(max_new_tokens=9, temperature=0.5, samples=2)
    assert list(engine(server).generate([request], decoding)) == [["And now?", "And now?"]]
    first, second = server.asked
    assert first == {
        "model": "tiny",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": data_url(request)}},
                    {"type": "text", "text": "Which one?"},
                ],
            },
            {"role": "assistant", "content": "The left one."},
            {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 1.0,
        "seed": 14,
    }
    assert second == first | {"seed": 15}, "another reply to the same question"
    assert server.headers[0]["authorization"] == "Bearer secret"


def test_without_a_key_none_is_sent(serve) -> None:
    server = serve()
    list(engine(server).generate(asks(1), GREEDY))
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("data", "kind", "size"),
    [
        (picture("PNG"), "PNG", (8, 6)),
        (picture("JPEG"), "JPEG", (8, 6)),
        (picture("BMP"), "PNG", (8, 6)),
        (
            picture("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
            "PNG",
            (6, 8),
        ),
    ],
    ids=["png", "jpeg", "bmp", "jpeg on its side"],
)
def test_pictures_are_sent_upright_and_as_every_server_reads_them(data: bytes, kind: str, size) -> None:
    head, _, body = data_url(Request("?", data)).partition(",")
    assert head == f"data:image/{kind.lower()};base64"
    sent = Image.open(io.BytesIO(base64.b64decode(body)))
    assert (sent.format, sent.size) == (kind, size)


def test_replies_are_in_order_and_bounded_in_number(serve) -> None:
    gate = threading.Barrier(4, timeout=30)

    def reply(body) -> str:
        number = int(text_of(body).split()[1])
        if number < 4:
            gate.wait()  # passes only if four are asked at once
        return f"reply {number}"

    server = serve(reply=reply)
    drawn = [0]

    def source():
        for request in asks(40):
            drawn[0] += 1
            yield request

    replies = engine(server, concurrency=4).generate(source(), GREEDY)
    assert next(replies) == ["reply 0"]
    assert drawn[0] <= 16, "questions are drawn as they are needed"
    assert [each[0] for each in replies] == [f"reply {number}" for number in range(1, 40)]
    assert server.most_at_once <= 4


def test_a_bad_day_is_waited_out(serve, waits: list[float]) -> None:
    script = [status(503), hang_up, half, status(429, b"{}", Retry_After="7"), status(500), status(502)]
    server = serve(*script)
    made = engine(server, concurrency=1)
    assert [each[0] for each in made.generate(asks(3), GREEDY)] == ["question 0", "question 1", "question 2"]
    assert len(server.asked) == 3 + len(script)
    assert len(waits) == len(script)
    for wait, low, high in zip(waits, [0.25, 0.5, 1, 7, 4, 8], [0.5, 1, 2, 7, 8, 16], strict=True):
        assert low <= wait <= high, "growing, uneven, and as long as the server asks for"
    assert len(made.said) == 1 and "it answers 503; asking again" in made.said[0]


def test_a_date_to_come_back_at_is_kept_to(serve, waits: list[float]) -> None:
    from email.utils import formatdate
    from time import time

    server = serve(status(503, b"{}", Retry_After=formatdate(time() + 90, usegmt=True)))
    assert list(engine(server, concurrency=1).generate(asks(1), GREEDY)) == [["question 0"]]
    assert 80 < waits[0] <= 90


def test_a_server_that_stays_down_is_told_after_the_deadline(serve, waits: list[float]) -> None:
    server = serve(*[status(503, b"{}", Retry_After="3600")] * 50)
    with pytest.raises(InfrastructureError, match=r"no answer to case 0 in 900 s \(it answers 503\); run again when"):
        list(engine(server, concurrency=1).generate(asks(2), GREEDY))
    assert not waits, "it asks to be left alone for longer than that"


def test_a_server_that_is_not_there_is_told(serve) -> None:
    server = serve()
    server.close()
    with pytest.raises(InfrastructureError, match=r"no answer to case 0 in 0\.2 s \(.*refused"):
        list(engine(server, deadline_s=0.2).generate(asks(1), GREEDY))


def test_an_answer_that_does_not_come_is_asked_for_again(serve) -> None:
    held = threading.Event()

    def silent(handler, body) -> None:
        held.wait(timeout=30)
        hang_up(handler, body)

    server = serve(silent)
    made = engine(server, timeout_s=0.2)
    assert list(made.generate(asks(1), GREEDY)) == [["question 0"]]
    held.set()
    assert "no answer in time" in made.said[0]


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (status(400, b'{"error": "too many tokens"}'), InputError, "answered 400 to case 0: too many tokens"),
        (status(422, b'{"error": {"message": "no picture"}}'), InputError, "answered 422 to case 0: no picture"),
        (status(413, b"<h1>large</h1>"), InputError, "answered 413 to case 0: <h1>large</h1>"),
        (status(401), InputError, "answered 401: put a key that it accepts into OPENAI_API_KEY"),
        (status(404), InputError, "check the address and the model's name, 'tiny'"),
        (status(307, b"", Location="http://127.0.0.1:9/"), InputError, "answered 307: check the address"),
        (status(200, b"<html>"), InfrastructureError, "none of an OpenAI-compatible server"),
        (status(200, b"{}"), InfrastructureError, "no chat completion"),
        (status(200, b"[" * 100_000), InfrastructureError, "none of an OpenAI-compatible server"),
    ],
)
def test_what_no_waiting_mends_is_told_at_once(serve, waits, answer, kind, says: str) -> None:
    server = serve(*[answer] * 8)
    with pytest.raises(kind, match=says):
        list(engine(server, concurrency=1).generate(asks(2), GREEDY))
    assert not waits


def test_an_answer_without_end_is_given_up_on(serve) -> None:
    def endless(handler, body) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * (1 << 20))
        except OSError:
            handler.close_connection = True

    server = serve(endless)
    with pytest.raises(InfrastructureError, match="the answer to case 0 has no end"):
        list(engine(server).generate(asks(1), GREEDY))


def test_thinking_that_the_server_took_out_is_put_back(serve) -> None:
    server = serve(lambda handler, _: completion(handler, "(1,2),(3,4)", reasoning_content="left"))
    assert list(engine(server).generate(asks(1), GREEDY)) == [["<think>left</think>(1,2),(3,4)"]]


def test_a_reply_of_nothing_is_an_empty_one(serve) -> None:
    server = serve(lambda handler, _: completion(handler, None))
    assert list(engine(server).generate(asks(1), GREEDY)) == [[""]]


def test_a_picture_that_cannot_be_read_is_never_sent(serve) -> None:
    server = serve()
    bad = Request("?", b"\x89PNG\r\n\x1a\n", name="dog/3", or_nothing=True)
    assert list(engine(server).generate([bad, *asks(1)], GREEDY)) == [[], ["question 0"]]
    assert len(server.asked) == 1
    with pytest.raises(InputError, match=r"^dog/3: this is not a picture"):
        list(engine(server).generate([Request("?", b"\x89PNG\r\n\x1a\n", name="dog/3")], GREEDY))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8080", "expected an address"),
        ("ftp://host/v1", "expected an address"),
        ("http://", "expected an address"),
        ("http://user:secret@host/v1", "put the key into OPENAI_API_KEY"),
        ("http://host/v1?key=secret", "put the key into OPENAI_API_KEY"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse({"url": url}, Endpoint, where="evaluate")


def test_a_key_that_no_header_takes_is_refused(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a\nb")
    with pytest.raises(InputError, match="OPENAI_API_KEY: this is no key"):
        list(engine(serve()).generate(asks(1), GREEDY))


def test_says_what_a_score_must_record(serve) -> None:
    server = serve()
    assert engine(server).backend == {
        "engine": "openai",
        "version": None,
        "dtype": None,
        "endpoint": server.url,
        "model": "tiny",
    }


def test_a_choice_that_is_no_object_is_told(serve) -> None:
    server = serve(lambda handler, _: send(handler, 200, b'{"choices": [{"message": "x"}]}'))
    with pytest.raises(InfrastructureError, match="no chat completion"):
        list(engine(server).generate(asks(1), GREEDY))
