"""Clients of a model server: threads that each ask again as soon as they are answered."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

PREDICT = "/v1/models/deepperception:predict"
_TIMEOUT_S = 300.0


@dataclass
class Load:
    """What the clients of one run saw."""

    wall_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    """Of each request that was answered with 200."""
    statuses: Counter[int] = field(default_factory=Counter)
    texts: dict[int, str] = field(default_factory=dict)
    """The reply to each body, by its place."""

    def to_json(self) -> dict[str, Any]:
        """Requests per second and percentiles in milliseconds."""
        cut = quantiles(self.seconds, n=100, method="inclusive") if len(self.seconds) > 1 else self.seconds * 99
        rate = len(self.seconds) / self.wall_s
        return {"requests_per_s": rate, **{f"p{each}_ms": 1000 * cut[each - 1] for each in (50, 95, 99)}}


def body(image: bytes, entity: str) -> bytes:
    """A v1 request for one picture."""
    return json.dumps({"instances": [{"image": {"b64": base64.b64encode(image).decode()}, "entity": entity}]}).encode()


def run(port: int, bodies: Sequence[bytes], *, clients: int, until_s: float | None = None) -> Load:
    """Send every body once, or all of them over and over until so many seconds have passed."""
    load, lock = Load(), threading.Lock()
    started = time.perf_counter()
    places = iter(range(len(bodies))) if until_s is None else itertools.cycle(range(len(bodies)))

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        while until_s is None or time.perf_counter() - started < until_s:
            with lock:
                place = next(places, None)
            if place is None:
                break
            asked = time.perf_counter()
            connection.request("POST", PREDICT, bodies[place], {"content-type": "application/json"})
            response = connection.getresponse()
            answer = json.load(response)
            took = time.perf_counter() - asked
            with lock:
                load.statuses[response.status] += 1
                if response.status == 200:
                    load.seconds.append(took)
                    load.texts[place] = answer["predictions"][0]["text"]
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.wall_s = time.perf_counter() - started
    return load
