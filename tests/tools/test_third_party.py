"""Digests come from a registry or not at all."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import third_party

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """As Docker Hub answers a stranger: a token first, then the manifest. The tag says how it misbehaves."""

    def do_GET(self) -> None:
        if self.path.startswith("/token"):
            known = "scope=repository:library/postgres:pull" in self.path.replace("%3A", ":").replace("%2F", "/")
            self._answer(200 if known else 403, b'{"token": "t0ken"}')
        elif self.headers.get("Authorization") != "Bearer t0ken":
            realm = f"http://{self.headers['Host']}/token"
            challenge = f'Bearer realm="{realm}",service="here",scope="repository:library/postgres:pull"'
            self._answer(401, b"", {"WWW-Authenticate": challenge})
        elif self.path == "/v2/library/postgres/manifests/17.6":
            self._answer(200, MANIFEST, {"Docker-Content-Digest": DIGEST})
        elif self.path == "/v2/library/postgres/manifests/forged":
            self._answer(200, MANIFEST + b" ", {"Docker-Content-Digest": DIGEST})
        elif self.path == "/v2/library/postgres/manifests/silent":
            self._answer(200, MANIFEST)
        else:
            self._answer(404, b"")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def listed(registry: str, tag: str, more: str = "") -> str:
    return f"""\
# A word to the reader.
images:
  - name: deepperception/server
    newTag: 0.1.0
  - name: postgres
    newName: {registry}/library/postgres
    newTag: "{tag}"  # the newest that was tried
{more}"""


def test_a_digest_is_written_below_its_tag_and_nothing_else_changes(registry: str, tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(listed(registry, "17.6"))
    assert third_party.main([str(file)]) == 0
    assert file.read_text() == listed(registry, "17.6", f"    digest: {DIGEST}\n")
    assert third_party.main([str(file)]) == 0
    assert file.read_text() == listed(registry, "17.6", f"    digest: {DIGEST}\n"), "run again, no change"


def test_an_older_digest_gives_way(registry: str, tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(listed(registry, "17.6", f"    digest: sha256:{'0' * 64}\n"))
    assert third_party.main([str(file)]) == 0
    assert file.read_text() == listed(registry, "17.6", f"    digest: {DIGEST}\n")


@pytest.mark.parametrize(
    "tag, said",
    [
        ("forged", "announces sha256:.* and sends sha256:"),
        ("silent", "announces no digest"),
        ("gone", "answers 404 Not Found"),
    ],
)
def test_what_is_not_borne_out_is_not_written(
    registry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], tag: str, said: str
) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(listed(registry, tag))
    assert third_party.main([str(file)]) == 3
    assert file.read_text() == listed(registry, tag)
    told = capsys.readouterr().err
    assert "left without a digest" in told
    assert re.search(said, told)


def test_a_registry_out_of_reach_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "images.yaml"
    # A port that nothing can listen on.
    file.write_text(listed("127.0.0.1:0", "17.6", "    digest: sha256:old\n"))
    assert third_party.main([str(file)]) == 3
    assert "127.0.0.1:0 cannot be reached" in (told := capsys.readouterr().err)
    assert "its old digest stays" in told
    assert "digest: sha256:old" in file.read_text()


def test_the_projects_own_file_can_be_read() -> None:
    images = third_party.read(third_party.FILE.read_text(encoding="utf-8"))
    assert images
    for image in images:
        assert image.tag not in ("", "latest") and "." in image.name.partition("/")[0]
        assert image.digest is None or image.digest.startswith("sha256:")
