"""A chat completions server that keeps what it is asked, and behaves as a test's script says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class ChatServer:
    """`script` says what happens to the first requests; all further ones are answered by `reply` of their text."""

    def __init__(self, *script: Behaviour, reply: Callable[[dict[str, Any]], str] | None = None) -> None:
        self.script = list(script)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        outer = self
        content = reply or text_of

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.asked.append(body)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    behaviour = outer.script.pop(0) if outer.script else None
                try:
                    (behaviour or (lambda handler, body: completion(handler, content(body))))(self, body)
                finally:
                    with outer._lock:
                        outer.at_once -= 1

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def text_of(body: dict[str, Any]) -> str:
    """The words of the last turn."""
    return body["messages"][-1]["content"][-1]["text"]


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def completion(handler: BaseHTTPRequestHandler, content: str | None, **message: str) -> None:
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content, **message}}]}
    send(handler, 200, json.dumps(answer).encode())


def status(code: int, body: bytes = b"{}", **headers: str) -> Behaviour:
    return lambda handler, _: send(handler, code, body, **headers)


def hang_up(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.close_connection = True
    handler.connection.close()


def half(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """Announces more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    hang_up(handler, {})
