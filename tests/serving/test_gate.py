"""What every request passes: slow and large bodies, the token, a server that stops. Over ASGI, without a network."""

import asyncio
import json

import pytest

from deepperception.serving.gate import Gate, is_open
from deepperception.serving.limits import Limits
from deepperception.serving.service import Service

CHAT = "/openai/v1/chat/completions"


class Client:
    """One request: chunks are sent as they are put; None hangs up."""

    def __init__(self, gate, path=CHAT, method="POST", headers=()):
        self.chunks, self.sent = asyncio.Queue(), []
        names = [(name.encode(), value.encode()) for name, value in dict(headers).items()]
        scope = {"type": "http", "method": method, "path": path, "headers": names, "http_version": "1.1"}
        self.done = asyncio.ensure_future(gate(scope, self.receive, self.send))

    async def receive(self):
        chunk = await self.chunks.get()
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    async def send(self, message):
        self.sent.append(message)

    def put(self, *chunks):
        for chunk in chunks:
            self.chunks.put_nowait(chunk)
        return self

    async def answer(self):
        await self.done
        status = next(m["status"] for m in self.sent if m["type"] == "http.response.start")
        return status, b"".join(m.get("body", b"") for m in self.sent)

    async def refusal(self):
        status, body = await self.answer()
        return status, json.loads(body)["error"]

    def header(self, name):
        return dict(self.sent[0]["headers"]).get(name)


def gate_with(app=None, token=None, **limits):
    async def echo(scope, receive, send):
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message.get("body", b"")})

    service = Service(Limits(**{"upload_grace_s": 30.0, **limits}))
    service.ready = True
    return Gate(app or echo, service, token), service


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_body_reaches_the_route_whole():
    async def scenario():
        gate, _ = gate_with()
        return await Client(gate).put(b"ab", b"cd", b"").answer()

    assert run(scenario) == (200, b"abcd")


def test_a_slow_body_is_given_up():
    async def scenario():
        gate, _ = gate_with(upload_grace_s=0.05)
        return await Client(gate).put(b"a").refusal()

    status, sentence = run(scenario)
    assert status == 408 and "too slowly" in sentence


def test_a_body_that_keeps_the_pace_may_take_longer_than_the_grace():
    async def scenario():
        gate, _ = gate_with(upload_grace_s=0.0, upload_bytes_per_s=1000)
        client = Client(gate).put(b"a" * 30_000)
        await asyncio.sleep(0.05)
        return await client.put(b"b", b"").answer()

    assert run(scenario)[0] == 200


def test_no_body_takes_longer_than_the_longest():
    async def scenario():
        gate, _ = gate_with(upload_s=0.05)
        return await Client(gate).put(b"a" * 1_000_000).refusal()

    assert run(scenario)[0] == 408


def test_one_upload_too_many_and_the_slowest_gives_way():
    async def scenario():
        gate, _ = gate_with(uploads=2)
        fast, slow = Client(gate).put(b"a" * 100_000), Client(gate).put(b"a")
        await asyncio.sleep(0.01)
        new = Client(gate).put(b"a", b"")
        return await slow.refusal(), await new.answer(), (await fast.put(b"").answer())[0]

    (status, _), new, fast = run(scenario)
    assert (status, new[0], fast) == (408, 200, 200)


def test_uploads_take_no_place_of_those_who_wait():
    async def scenario():
        gate, _ = gate_with(waiting=1)
        slow = [Client(gate).put(b"a") for _ in range(5)]
        await asyncio.sleep(0)
        answer = await Client(gate).put(b"").answer()
        for client in slow:
            client.put(None)
        await asyncio.gather(*(client.done for client in slow))
        return answer[0], [client.sent for client in slow]

    assert run(scenario) == (200, [[]] * 5)


def test_all_bodies_together_are_bounded():
    async def scenario():
        gate, _ = gate_with(buffered_bytes=1000)
        first = Client(gate).put(b"a" * 900)
        await asyncio.sleep(0)
        second = Client(gate).put(b"a" * 200)
        refused = await second.refusal()
        after = await first.put(b"").answer()
        third = await Client(gate).put(b"a" * 900, b"").answer()
        return refused, second.header(b"retry-after"), after[0], third[0]

    (status, _), retry, *served = run(scenario)
    assert (status, retry, served) == (429, b"5", [200, 200])


def test_a_body_is_cut_at_its_limit_and_counted_back():
    async def scenario():
        gate, _ = gate_with(body_bytes=100, buffered_bytes=150)
        statuses = [(await Client(gate).put(b"a" * 101).refusal())[0] for _ in range(5)]
        return statuses, (await Client(gate, headers={"content-length": "101"}).refusal())[0]

    assert run(scenario) == ([413] * 5, 413)


def test_a_stopping_server_finishes_what_it_took_and_takes_nothing_more():
    async def scenario():
        go = asyncio.Event()

        async def slow(scope, receive, send):
            await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})

        gate, service = gate_with(slow)
        taken, uploading = Client(gate).put(b""), Client(gate).put(b"a")
        await asyncio.sleep(0.01)
        service.draining = True
        assert not service.idle.is_set()
        new = Client(gate)
        refused = await new.refusal()
        late = await uploading.put(b"").refusal()
        go.set()
        finished = await taken.answer()
        return refused, new.header(b"retry-after"), late[0], finished, service.idle.is_set()

    (status, sentence), retry, late, finished, idle = run(scenario)
    assert (status, retry, late) == (503, b"5", 503) and "stopping" in sentence
    assert (finished, idle) == ((200, b"done"), True)


def test_who_hangs_up_stops_the_route():
    async def scenario():
        stopped = asyncio.Event()

        async def endless(scope, receive, send):
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        gate, service = gate_with(endless)
        client = Client(gate).put(b"", None)
        await client.done
        return stopped.is_set(), service.idle.is_set(), client.sent

    assert run(scenario) == (True, True, [])


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Basic c2VjcmV0", 401),
        ("secret", 401),
        ("Bearer secret2", 401),
        ("Bearer secre", 401),
        ("Bearer s\u00e9cret", 401),
        ("Bearer secret", 200),
        ("bearer secret", 200),
    ],
)
def test_only_the_right_token_opens(given, status):
    async def scenario():
        gate, _ = gate_with(token="secret")
        headers = {} if given is None else {"authorization": given}
        client = Client(gate, headers=headers).put(b"")
        return (await client.answer())[0], client.header(b"www-authenticate")

    assert run(scenario) == (status, b"Bearer" if status == 401 else None)


@pytest.mark.parametrize(
    ("path", "opened"),
    [
        ("/", True),
        ("/metrics", True),
        ("/v1/models/deepperception", True),
        ("/v2/health/ready", True),
        ("/page/app.js", True),
        ("/page/examples.json", False),
        ("/page/example-0", False),
        ("/openai/v1/models", False),
        ("/openapi.json", False),
        ("/v1/models/deepperception:predict", False),
    ],
)
def test_probes_and_the_page_need_no_token(path, opened):
    assert is_open(path) is opened
