"""A model server by a script: as much of ours as a release asks of it. revision_server.py PORT BEHAVIOUR

Only the standard library, so that it is up at once. BEHAVIOUR is JSON: {"ready_after_s", "answer": "right" | "wrong" |
"nothing", "seconds", "failing": share of the requests, "dies_after": requests}. On SIGTERM it ends what it has begun.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODEL = "/v1/models/deepperception"
BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
BOXES = {"right": [100.0, 100.0, 300.0, 300.0], "wrong": [600.0, 600.0, 900.0, 900.0], "nothing": None}


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for what was begun
    request_queue_size = 128

    def __init__(self, port: int, behaviour: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.behaviour, self.began, self.lock = behaviour, time.monotonic(), threading.Lock()
        self.statuses: dict[int, int] = {200: 0}
        self.seconds: list[int] = [0] * (len(BOUNDS) + 1)
        self.predictions = self.boxes = 0
        self.chance = random.Random(0)

    def is_ready(self) -> bool:
        return time.monotonic() - self.began >= self.behaviour.get("ready_after_s", 0.0)

    def answer(self) -> tuple[int, Any]:
        time.sleep(self.behaviour.get("seconds", 0.0))
        with self.lock:
            fails = self.chance.random() < self.behaviour.get("failing", 0.0)
        if fails:
            return 500, {"error": "the model failed on this request; its log says why."}
        box = BOXES[self.behaviour.get("answer", "right")]
        prediction = {"box": box, "box_1000": box, "reasoning": "", "text": ""}
        return 200, {"predictions": [prediction]}

    def count(self, status: int, seconds: float, content: Any) -> None:
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            for place, bound in enumerate((*BOUNDS, float("inf"))):
                self.seconds[place] += seconds <= bound
            if status == 200:
                self.predictions += 1
                self.boxes += content["predictions"][0]["box"] is not None
            asked = sum(self.statuses.values())
        if asked >= self.behaviour.get("dies_after", float("inf")):
            os._exit(1)

    def metrics(self) -> str:
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        with self.lock:
            lines = [f'deepperception_requests_total{{route="v1",status="{s}"}} {n}' for s, n in self.statuses.items()]
            lines += [
                f'deepperception_request_seconds_bucket{{route="v1",le="{bound}"}} {count}'
                for bound, count in zip(bounds, self.seconds, strict=True)
            ]
            lines += [f"deepperception_predictions_total {self.predictions}"]
            lines += [f"deepperception_boxes_found_total {self.boxes}"]
        memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        return "\n".join([*lines, f"process_resident_memory_bytes {memory}", ""])


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._send(200, self.server.metrics().encode(), "text/plain")
        elif self.path == MODEL:
            ready = self.server.is_ready()
            self._send(200 if ready else 503, json.dumps({"ready": ready}).encode())
        else:
            self._send(404, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        began = time.monotonic()
        status, content = self.server.answer()
        self.server.count(status, time.monotonic() - began, content)
        self._send(status, json.dumps(content).encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    server = Server(int(sys.argv[1]), json.loads(sys.argv[2]))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(server.server_port, flush=True)
    server.serve_forever(poll_interval=0.02)
    server.server_close()
