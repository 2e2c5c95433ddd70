"""Pictures by address: what the allow-list lets through, and every way around it that is known."""

import http.server
import ipaddress
import threading
from typing import ClassVar

import pytest

from deepperception.errors import InputError
from deepperception.serving.fetch import Fetcher, Origin, is_public
from deepperception.serving.limits import Refusal

from .conftest import picture


class Neighbour(http.server.BaseHTTPRequestHandler):
    """Serves a picture, secrets and detours on the loopback, and keeps what it was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        where = self.path.removeprefix("/to?")
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("location", where)
            self.end_headers()
            return
        content = {"/large": b"x" * 50_000, "/missing": b""}.get(self.path, picture())
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path == "/packed":
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        if self.path == "/drip":
            self.wfile.write(b"x")
            self.wfile.flush()
            self.server.dripping.wait(30)
            return
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def neighbour():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Neighbour)
    server.dripping = threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.dripping.set()
    server.shutdown()
    server.server_close()
    thread.join()


def fetcher(neighbour, *more: str, resolve=None, **options) -> Fetcher:
    """Allowed: the neighbour by its literal address, which the list's owner meant, and `more`."""
    named = f"http://127.0.0.1:{neighbour.server_port}"
    options = {"max_bytes": 20_000, **options, **({"resolve": resolve} if resolve else {})}
    return Fetcher([Origin.parse(text) for text in (named, *more)], **options)


def test_an_allowed_origin_is_fetched_from(neighbour):
    url = f"http://127.0.0.1:{neighbour.server_port}/photo.png?size=large"
    assert fetcher(neighbour).fetch(url, "here") == picture()


def test_a_redirect_within_the_allowed_is_followed(neighbour):
    root = f"http://127.0.0.1:{neighbour.server_port}"
    assert fetcher(neighbour).fetch(f"{root}/to?/photo.png", "here") == picture()


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/secret",  # not the name that is allowed
        "http://127.0.0.1:1/secret",  # another port
        "https://127.0.0.1:{port}/secret",  # another scheme
        "http://127.0.0.2:{port}/secret",
        "http://2130706433:{port}/secret",  # the same address as one number
        "http://0x7f000001:{port}/secret",
        "http://0177.0.0.1:{port}/secret",
        "http://127.1:{port}/secret",
        "http://[::ffff:127.0.0.1]:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://127.0.0.1:{port}@evil.example/secret",
        "http://user@127.0.0.1:{port}/secret",
        "http://evil.example#@127.0.0.1:{port}/",
        "http://evil.example\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}.evil.example/",
        "http://127.0.0.1:{port}\r\nHost: evil/",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http://127.0.0.1:{port}x/",
        "",
    ],
)
def test_nothing_else_is_even_asked(neighbour, url):
    Neighbour.asked.clear()
    with pytest.raises(Refusal, match=r"here: .*send the picture itself") as caught:
        fetcher(neighbour).fetch(url.format(port=neighbour.server_port), "here")
    assert caught.value.status == 422
    assert Neighbour.asked == []


@pytest.mark.parametrize(
    "moved",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:{port}/secret",
        "http://127.0.0.1:22/",
        "file:///etc/passwd",
        "//[::1]:{port}/secret",
        "http://internal.example/secret",
    ],
)
def test_every_redirect_passes_the_same_way(neighbour, moved):
    Neighbour.asked.clear()
    root = f"http://127.0.0.1:{neighbour.server_port}"
    with pytest.raises(Refusal):
        fetcher(neighbour).fetch(f"{root}/to?{moved.format(port=neighbour.server_port)}", "here")
    assert not any("secret" in path for path in Neighbour.asked[1:])
    assert len(Neighbour.asked) == 1


def test_redirects_without_end_are_given_up(neighbour):
    path = "/x"
    for _ in range(6):
        path = f"/to?{path}"
    with pytest.raises(Refusal, match="moves on and on"):
        fetcher(neighbour).fetch(f"http://127.0.0.1:{neighbour.server_port}{path}", "here")


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (["127.0.0.1"], "loopback"),
        (["10.0.0.7"], "private"),
        (["172.16.3.1"], "private"),
        (["192.168.1.1"], "private"),
        (["169.254.169.254"], "metadata"),
        (["100.100.100.200"], "metadata, in the carriers' range"),
        (["0.0.0.0"], "this machine"),
        (["224.0.0.1"], "multicast"),
        (["::1"], "loopback"),
        (["fd00:ec2::254"], "metadata"),
        (["fe80::1%eth0"], "link-local"),
        (["::ffff:10.0.0.7"], "IPv4 in IPv6"),
        (["64:ff9b::a00:7"], "IPv4 behind NAT64"),
        (["2002:7f00:1::"], "IPv4 in 6to4"),
        (["93.184.216.34", "127.0.0.1"], "one good address of two"),
    ],
)
def test_a_name_that_leads_inside_is_refused(neighbour, addresses, why):
    fetch = fetcher(neighbour, "http://photos.example", resolve=lambda *_: addresses).fetch
    with pytest.raises(Refusal, match="not fetched from this address"):
        fetch("http://photos.example/a.png", "here")


def test_a_name_is_asked_for_once_and_the_connection_goes_to_that_answer(neighbour, monkeypatch):
    """DNS rebinding: the second answer, which would be the loopback, is never asked for."""
    answers = [["93.184.216.34"], ["127.0.0.1"]]
    connected = []

    def refuse(address, timeout):
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("deepperception.serving.fetch.socket.create_connection", refuse)
    fetch = fetcher(neighbour, "http://photos.example", resolve=lambda *_: answers.pop(0)).fetch
    with pytest.raises(Refusal, match="does not answer"):
        fetch("http://photos.example/a.png", "here")
    assert connected == [("93.184.216.34", 80)]
    assert answers == [["127.0.0.1"]]


def test_link_local_addresses_are_refused_even_where_the_list_names_them(neighbour):
    with pytest.raises(Refusal, match="not fetched from this address"):
        fetcher(neighbour, "http://169.254.169.254").fetch("http://169.254.169.254/latest/", "here")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/large", 413, "larger than 20,000 bytes"),
        ("/missing", 422, "does not answer"),
        ("/packed", 422, "does not answer"),
        ("/drip", 422, "does not answer"),
    ],
)
def test_what_comes_is_bounded_in_size_and_time(neighbour, path, status, says):
    fetch = fetcher(neighbour, timeout_s=0.5).fetch
    with pytest.raises(Refusal, match=says) as caught:
        fetch(f"http://127.0.0.1:{neighbour.server_port}{path}", "here")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("entry", "host", "allowed"),
    [
        ("https://photos.example.org", "photos.example.org", True),
        ("https://photos.example.org", "sub.photos.example.org", False),
        ("https://*.example.org", "a.b.example.org", True),
        ("https://*.example.org", "example.org", False),
        ("https://*.example.org", "evilexample.org", False),
        ("https://PHOTOS.example.org", "photos.example.org", True),
    ],
)
def test_an_entry_allows_its_own_host(entry, host, allowed):
    assert Origin.parse(entry).allows("https", host, 443) is allowed


@pytest.mark.parametrize(
    "entry", ["photos.example.org", "https://", "https://*", "https://a.*.org", "https://a/path", "file:///", "*"]
)
def test_an_entry_that_is_no_origin_is_refused(entry):
    with pytest.raises(InputError, match="give scheme and host"):
        Origin.parse(entry)


def test_public_addresses_are_public():
    for text in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"):
        assert is_public(ipaddress.ip_address(text)), text
