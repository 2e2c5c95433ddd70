"""HTTP/1.1 as uvicorn speaks it, with two things mended: who says nothing is cut off, and what is no HTTP gets JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def impatient(headers_s: float) -> type[HttpToolsProtocol]:
    """A protocol whose connections begin their first request within `headers_s`.

    Uvicorn's own timeout runs between requests only: a client that never sends a whole header keeps its connection.
    """

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.headers_timer = self.loop.call_later(headers_s, self._cut_off)

        def connection_lost(self, exc: Exception | None) -> None:
            self.headers_timer.cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            content = json.dumps({"error": "this is no HTTP request that can be read; check what sends it."}).encode()
            head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
            self.transport.close()

        def _cut_off(self) -> None:
            cycle: Any = self.cycle
            if cycle is None and not self.transport.is_closing():
                self.transport.close()

    return Protocol
