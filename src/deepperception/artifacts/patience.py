"""An HTTP client that waits for a server that is down, for as long as it was told to, and says so once."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import urllib3
from urllib3.exceptions import HTTPError, NameResolutionError, SSLError, TimeoutError

from deepperception.errors import InfrastructureError, InputError

# Busy or starting: the same request may succeed later. All other answers are the server's last word.
PASSING_STATUS = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0

T = TypeVar("T")


class Unwell(Exception):
    """The server answered that it cannot answer now."""


class Patience:
    """How long a server may be down before an error is raised; shared by all threads that talk to it."""

    def __init__(
        self,
        endpoint: str,
        limit_s: float,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint, self.limit_s = endpoint, limit_s
        self._say, self._clock, self._sleep = say, clock, sleep
        self._lock = threading.Lock()
        self._down_since: float | None = None
        self._gave_up = False

    def attempt(self, action: Callable[[], T]) -> T:
        """The result of `action`, repeated with growing pauses while the server is down.

        InfrastructureError where it stays down for longer than the limit; InputError where the address or certificate
        is what is wrong. Once given up on, a server gets one try a call until it answers: what cleans up
        after an error should not wait all over again.
        """
        failures, pause_s, began = 0, _FIRST_PAUSE_S, self._clock()
        while True:
            try:
                result = action()
            except (HTTPError, Unwell) as error:
                _refuse_lasting(error, self.endpoint)
                why = _told(error)
                left_s = 0.0 if self._gave_up else began + self.limit_s - self._clock()
                if left_s <= 0:
                    self._gave_up = True
                    raise InfrastructureError(
                        f"{self.endpoint}: the S3 server is down ({why}), for longer than {self.limit_s:.0f} s; "
                        "run again when it is back, finished work is kept."
                    ) from error
                failures += 1
                if failures > 1:  # once is a connection that was closed while it idled
                    self._note_outage(why, left_s)
                # Uneven, so that many clients do not come back at the same moment.
                self._sleep(min(pause_s * random.uniform(0.5, 1.0), left_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._note_answer()
                return result

    def _note_outage(self, why: str, left_s: float) -> None:
        with self._lock:
            if self._down_since is None:
                self._down_since = self._clock()
                self._say(f"waiting for {self.endpoint} ({why}), up to {left_s:.0f} s")

    def _note_answer(self) -> None:
        with self._lock:
            self._gave_up = False
            if self._down_since is not None:
                self._say(f"{self.endpoint} is back after {self._clock() - self._down_since:.0f} s")
                self._down_since = None


class PatientPool(urllib3.PoolManager):
    """urllib3's connections, with every request made as patiently as `patience` says.

    A request is sent again as it was signed; the bodies that the S3 client sends are bytes, which can be sent again.
    """

    def __init__(self, patience: Patience, **connection: Any) -> None:
        super().__init__(**connection)
        self._patience = patience

    def urlopen(self, method: str, url: str, redirect: bool = True, **request: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]
        def once() -> urllib3.BaseHTTPResponse:
            # retries=False: urllib3 raises what happened, and hands on redirects, which S3 never means to be followed.
            response = super(PatientPool, self).urlopen(method, url, redirect, **{**request, "retries": False})
            if response.status in PASSING_STATUS:
                response.drain_conn()
                response.release_conn()
                raise Unwell(f"it answers with status {response.status}")
            return response

        return self._patience.attempt(once)


def _refuse_lasting(error: Exception, endpoint: str) -> None:
    """InputError for what looks like an outage and is a wrong address or certificate."""
    if not isinstance(error, SSLError):
        return
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        raise InputError(
            f"{endpoint}: its certificate is not trusted; give the PEM of its authority as s3.ca_file or AWS_CA_BUNDLE."
        ) from error
    if "WRONG_VERSION_NUMBER" in str(error):
        raise InputError(f"{endpoint}: it does not speak https; give http:// where that is meant.") from error


def _told(error: BaseException | None) -> str:
    """The reason in a few words, from the bottom of what it was wrapped in."""
    if isinstance(error, NameResolutionError):
        return "its name is not known"
    words = str(error)
    while error is not None:
        if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
            return error.strerror.lower()
        if isinstance(error, TimeoutError):
            words = "no answer in time"
        inner = next((part for part in error.args if isinstance(part, BaseException)), None)
        error = error.__cause__ or inner
    return words.splitlines()[0] if words else "no answer"
