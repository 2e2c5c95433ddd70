"""Asks a server over KServe's v1 protocol: the only code that does."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from deepperception.errors import InfrastructureError, InputError
from deepperception.serving.finder import PixelBox, Prediction

TOKEN = "DEEPPERCEPTION_TOKEN"
"""Environment variable of the bearer token, for a server and for who asks it."""
_MODEL = "/v1/models/deepperception"
_PREDICT = f"{_MODEL}:predict"
_TIMEOUT_S = 300.0  # one picture, on a CPU that may be busy
_METRICS_BYTES = 1 << 22
_OUR_FAULT = (400, 401, 404, 408, 413, 422)
_COME_BACK = (429, 503)
_LONGEST_WAIT_S = 30.0


def ask_server(
    url: str, image: bytes, entity: str, *, timeout_s: float = _TIMEOUT_S, token: str | None = None, retries: int = 0
) -> Prediction:
    """What the server finds; `url` is its root or the full address of the model, `image` an encoded picture.

    A server that is busy or not ready is asked again `retries` times, after as long as it says. InputError where the
    address is none or the server refuses the picture; InfrastructureError where no answer comes.
    """
    _check(url)
    address = url if url.endswith(":predict") else url.rstrip("/") + _PREDICT
    body = {"instances": [{"image": {"b64": base64.b64encode(image).decode()}, "entity": entity}]}
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers, method="POST")
    for attempt in range(retries + 1):
        try:
            with _opener(address).open(request, timeout=timeout_s) as response:
                return _prediction(json.load(response)["predictions"][0])
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in _COME_BACK or attempt == retries:
                    kind = InputError if error.code in _OUR_FAULT else InfrastructureError
                    raise kind(f"{address} answered {error.code}: {_sentence(error)}") from None
                time.sleep(_wait_s(error, attempt))
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise InfrastructureError(
                f"{address}: no server answers ({reason}); start one with `deepperception serve`."
            ) from None
        except (http.client.HTTPException, ValueError, LookupError, TypeError):
            raise InfrastructureError(
                f"{address}: the answer is none of a deepperception server; check the address."
            ) from None
    raise AssertionError("the last attempt returns or raises")


def _wait_s(error: urllib.error.HTTPError, attempt: int) -> float:
    """As long as the server says, and longer each time."""
    given = error.headers.get("retry-after", "")
    said = float(given) if given.isdecimal() else 1.0
    return min(said * 1.5**attempt, _LONGEST_WAIT_S)


def is_ready(url: str, *, timeout_s: float) -> bool:
    """Whether the server at `url` has loaded its model."""
    try:
        with _opener(url).open(url.rstrip("/") + _MODEL, timeout=timeout_s) as response:
            return bool(response.status == HTTPStatus.OK)
    except (OSError, http.client.HTTPException):  # refused, timed out, 503 while it loads, or no HTTP
        return False


def read_metrics(url: str, *, timeout_s: float = 10.0) -> str:
    """What the server at `url` tells Prometheus; InfrastructureError where it tells nothing."""
    address = f"{url.rstrip('/')}/metrics"
    try:
        with _opener(address).open(address, timeout=timeout_s) as response:
            return str(response.read(_METRICS_BYTES).decode("utf-8"))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InfrastructureError(f"{address}: no metrics can be read there ({error}).") from None


def _check(url: str) -> None:
    """InputError where `url` is none; urllib finds that late, and says each fault with an error of another type."""
    try:
        parts = urllib.parse.urlsplit(url)
        is_host = parts.port != 0 and bool((parts.hostname or "").encode("idna"))
    except ValueError:  # UnicodeError is one
        is_host = False
    path = url.partition("://")[2].partition("/")[2]
    if not is_host or not path.isascii() or any(sign <= " " or sign == "\x7f" for sign in url):
        raise InputError(f"{url!r}: this is no address of a server; give one such as http://127.0.0.1:8080.")


def _opener(address: str) -> urllib.request.OpenerDirector:
    # A proxy from the environment cannot reach this machine's own ports.
    local = urllib.parse.urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))


def _prediction(content: dict[str, Any]) -> Prediction:
    return Prediction(_corners(content["box"]), _corners(content["box_1000"]), content["reasoning"], content["text"])


def _corners(values: Sequence[float] | None) -> PixelBox | None:
    if values is None:
        return None
    x1, y1, x2, y2 = (float(value) for value in values)
    return (x1, y1, x2, y2)


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return error.reason
