"""The model server against its bare engine, and against one request at a time. The server is a process of its own.

`python -m benchmarks.serving KIND PORT` is that process: "real" is the shipped base checkpoint, "slowed" an engine that
sleeps a fixed time for each batch, in which the server's own work shows.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.resources
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.evaluation import one_by_one, scenes
from benchmarks.pairs import Pair

CLIENTS = (1, 8, 32)
STEP_S, STEP_BATCH, STEP_REQUESTS = 0.1, 8, 480
REAL_REQUESTS, REAL_BATCH = 32, 16
ENGINE_GOAL, ONE_BY_ONE_GOAL = 0.95, 2.5
_START_S = 300.0


class SlowedEngine:
    """Sleeps STEP_S for every batch, whatever its size, and says the same to everybody: no model at all."""

    def __init__(self, folder: Any = None, *, max_pixels: int = 0) -> None:
        self.backend = {"engine": "slowed"}

    def generate(self, requests: Sequence[Any], decoding: Any) -> Iterator[list[str]]:
        time.sleep(STEP_S)
        return iter([["<answer> (250,100),(500,900) </answer>"] for _ in requests])


@dataclass(frozen=True)
class Served(Pair):
    """A pair whose own way is a server process; its line in bench.json also holds what clients saw."""

    kind: str = "real"
    bodies: Sequence[bytes] = ()

    def measure(self, rounds: int = 5) -> dict[str, Any]:
        with server(self.kind) as (port, process):
            load.run(port, self.bodies[:32], clients=8)  # warms up
            ours = lambda: _texts(load.run(port, self.bodies, clients=CLIENTS[-1]))  # noqa: E731
            result = Pair(self.name, ours, self.peer, self.goal).measure(rounds)
            seen = {}
            for clients in CLIENTS:
                before = _cpu_s(process.pid)
                bodies = self.bodies[:40] if clients == 1 else self.bodies
                found = load.run(port, bodies, clients=clients)
                seen[clients] = found.to_json()
                if self.kind == "slowed":  # the engine sleeps: all of the process's time is the server's own
                    seen[clients]["cpu_ms_per_request"] = 1000 * (_cpu_s(process.pid) - before) / len(bodies)
        bare = len(self.bodies) / result["peer"]
        for clients, numbers in seen.items():
            print(f"  {self.name}, {clients} clients: " + ", ".join(f"{k} {v:.1f}" for k, v in numbers.items()))
        print(f"  {self.name}, the other way: requests_per_s {bare:.1f}", flush=True)
        return {**result, "engine": self.kind, "clients": seen, "peer_requests_per_s": bare}


def against_engine() -> Pair:
    """The slowed engine behind the server, asked by 32 clients, against the same engine called in full batches."""
    asked = scenes(8)
    engine = SlowedEngine()

    def bare() -> list[str]:
        batches = [asked[:STEP_BATCH]] * (STEP_REQUESTS // STEP_BATCH)
        return [reply[0] for batch in batches for reply in engine.generate(batch, None)]

    bodies = [load.body(asked[number % len(asked)].image, "Thing") for number in range(STEP_REQUESTS)]
    return Served("serving_vs_engine", list, bare, ENGINE_GOAL, kind="slowed", bodies=bodies)


def against_one_by_one() -> Pair:
    """The base checkpoint behind the server, asked by 32 clients, against its model called for one at a time."""
    from deepperception.inference.transformers_engine import TransformersEngine

    folder = base()
    from deepperception.artifacts import read_interface

    engine = TransformersEngine(folder, max_pixels=read_interface(folder).max_pixels)
    asked = scenes(REAL_REQUESTS)
    names = [f"Thing {number}" for number in range(REAL_REQUESTS)]
    bodies = [load.body(each.image, name) for each, name in zip(asked, names, strict=True)]
    requests = _as_the_server_asks(folder, asked, names)
    return Served(
        "serving_vs_one_by_one", list, lambda: one_by_one(engine, requests), ONE_BY_ONE_GOAL, kind="real", bodies=bodies
    )


def base() -> Path:
    """The shipped base checkpoint."""
    return Path(str(importlib.resources.files("deepperception.bestiary") / "base"))


def _as_the_server_asks(folder: Path, asked: Sequence[Any], names: Sequence[str]) -> list[Any]:
    from deepperception.artifacts import read_interface
    from deepperception.grounding import question, render
    from deepperception.inference.engine import Request

    prompt = read_interface(folder).prompt
    return [Request(render(prompt, question(name)), each.image) for each, name in zip(asked, names, strict=True)]


def _texts(found: load.Load) -> list[str]:
    return [found.texts.get(place, "") for place in range(max(found.texts) + 1)]


@contextlib.contextmanager
def server(kind: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A process that serves, ready; its port, and the process."""
    from deepperception.serving.server import claim_port

    port = claim_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "benchmarks.serving", kind, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(port, process)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.suppress(OSError):
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        connection.close()
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the server does not come up; run python -m benchmarks.serving to see why.")
        time.sleep(0.2)


def _cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(kind: str, port: str) -> None:
    from deepperception.serving.limits import Batching
    from deepperception.serving.server import Settings, serve

    batch = STEP_BATCH if kind == "slowed" else REAL_BATCH
    engine = SlowedEngine if kind == "slowed" else None
    serve(base(), port=int(port), settings=Settings(batching=Batching(batch)), open_engine=engine)


if __name__ == "__main__":
    main(*sys.argv[1:])
