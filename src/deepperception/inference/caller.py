"""Requests to an OpenAI-compatible server that bear with a bad day."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError, NewConnectionError, TimeoutError

from deepperception.errors import InfrastructureError, InputError
from deepperception.inference.endpoint import KEY_VARIABLE, Endpoint

# Busy, starting, or behind a proxy that lost it. All other refusals are the server's last word.
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_CONNECT_S = 10.0
_MOST_BYTES = 16 << 20  # of an answer
_BLOCK = 1 << 16


class Unwell(Exception):
    """The server cannot answer now. `wait_s` is how long it asks to be left alone."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Caller:
    """Posts JSON to the endpoint from any number of threads."""

    def __init__(
        self,
        endpoint: Endpoint,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Any] | None = None,
    ) -> None:
        self.endpoint, self._say, self._clock = endpoint, say, clock
        self._address = f"{endpoint.url}/chat/completions"
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=endpoint.timeout_s)
        self._pool = urllib3.PoolManager(maxsize=endpoint.concurrency, timeout=timeout, retries=False)
        self._headers = {"content-type": "application/json", **_authorization()}
        self._stopped = threading.Event()
        self._pause = pause or self._stopped.wait
        self._told = threading.Lock()

    def stop(self) -> None:
        """Ends all waiting: nobody wants the answers any more."""
        self._stopped.set()

    def post(self, body: Mapping[str, Any], *, name: str) -> dict[str, Any]:
        """The server's answer, asked for again with growing pauses while it is unwell.

        `name` is what an error calls the question.
        InputError where the server refuses the request, InfrastructureError where no answer comes before the deadline.
        """
        content = json.dumps(body).encode()
        ends, pause_s = self._clock() + self.endpoint.deadline_s, _FIRST_PAUSE_S
        while True:
            try:
                return self._once(content, ends, name)
            except (Unwell, HTTPError) as error:
                if isinstance(error, LocationValueError):
                    raise InputError(f"{self._address}: this is no address of a server; correct it.") from None
                # Uneven, so that requests that failed together do not come back together.
                wait_s = max(pause_s * random.uniform(0.5, 1.0), getattr(error, "wait_s", 0.0))
                if self._stopped.is_set() or self._clock() + wait_s >= ends:
                    raise InfrastructureError(
                        f"{self._address}: no answer to {name} in {self.endpoint.deadline_s:g} s ({_told(error)}); "
                        "run again when the server is well, the replies so far are kept."
                    ) from None
                self._tell_once(f"{self._address}: {_told(error)}; asking again, up to {self.endpoint.deadline_s:g} s")
                self._pause(wait_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _once(self, content: bytes, ends: float, name: str) -> dict[str, Any]:
        response = self._pool.request(
            "POST", self._address, body=content, headers=self._headers, preload_content=False, redirect=False
        )
        try:
            answer = b""
            for block in response.stream(_BLOCK):
                answer += block
                if len(answer) > _MOST_BYTES:
                    raise InfrastructureError(f"{self._address}: the answer to {name} has no end; look at the server.")
                if self._clock() > ends:
                    raise Unwell("the answer comes too slowly")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        if response.status in PASSING:
            raise Unwell(f"it answers {response.status}", _retry_after_s(response.headers.get("Retry-After")))
        if response.status != 200:
            raise self._refusal(response.status, answer, name)
        try:
            read: dict[str, Any] = json.loads(answer)
            return read
        except (ValueError, RecursionError):
            raise InfrastructureError(
                f"{self._address}: the answer is none of an OpenAI-compatible server; check the address."
            ) from None

    def _refusal(self, status: int, answer: bytes, name: str) -> InputError:
        if status in (401, 403):
            return InputError(f"{self._address} answered {status}: put a key that it accepts into {KEY_VARIABLE}.")
        if status == 404 or 300 <= status < 400:
            return InputError(
                f"{self._address} answered {status}: check the address and the model's name, {self.endpoint.model!r}."
            )
        return InputError(f"{self._address} answered {status} to {name}: {_sentence(answer)}")

    def _tell_once(self, line: str) -> None:
        # Never released: of all threads that wait, the first one says so.
        if self._told.acquire(blocking=False):
            self._say(line)


def _authorization() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{KEY_VARIABLE}: this is no key (it holds signs that no header takes); set it again.")
    return {"authorization": f"Bearer {key}"}


def _retry_after_s(header: str | None) -> float:
    """Seconds, or a date; 0 where there is neither."""
    try:
        return 0.0 if header is None else urllib3.Retry().parse_retry_after(header)
    except InvalidHeader:
        return 0.0


def _told(error: Exception) -> str:
    # Of urllib3's timeouts, some are connections that were refused.
    if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):
        return "no answer in time"
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    return words.rpartition(": ")[2] or words


def _sentence(answer: bytes) -> str:
    """What the server says for itself, cut to a line."""
    try:
        error = json.loads(answer)["error"]
        words = error if isinstance(error, str) else error["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        words = answer.decode("utf-8", "replace")
    return " ".join(str(words).split())[:300] or "no reason given."
