"""What MLflow's exceptions mean, as one sentence each.

A server that cannot be reached, or that answers with a fault of its own, may be back later: Unavailable. One that says
no (a wrong password, a request that it does not understand) will say so again: told at once, never tried again.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from deepperception.artifacts.disk import is_full
from deepperception.errors import InfrastructureError, InputError

_UNAUTHORIZED, _FORBIDDEN, _BUSY, _SERVER_FAULT = 401, 403, (408, 429), 500
_LONGEST_PAUSE_S = 10.0


class Unavailable(InfrastructureError):
    """The server does not answer, or not now."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered
        """Whether there is a server: it may take the next record, though it did not take this one."""


class Refused(InfrastructureError):
    """The server understood, and said no: sending the same again does not help."""


class _Addressed(Protocol):
    @property
    def uri(self) -> str: ...


class _Patient(_Addressed, Protocol):
    @property
    def patience_s(self) -> float: ...

    @property
    def say(self) -> Callable[[str], None]: ...


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=_Addressed)
T = TypeVar("T", bound=_Patient)


def reporting(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Turn the exceptions of MLflow, its database and its transport into those of errors.py, or of this file."""

    @functools.wraps(method)
    def reported(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(self, *args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError) as error:  # requests' exceptions are OSErrors
            raise _meaning(error, method.__name__.strip("_").replace("_", " "), self.uri) from error

    return reported


def patient(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """Report failures, and wait for a server that is away: at most `patience_s`, then InfrastructureError.

    The method is called again from its beginning, so it must be one that may be repeated.
    """
    attempt = reporting(method)

    @functools.wraps(method)
    def waited(self: T, *args: P.args, **kwargs: P.kwargs) -> R:
        deadline, pause_s, said = time.monotonic() + self.patience_s, 0.5, False
        while True:
            try:
                return attempt(self, *args, **kwargs)
            except Unavailable as error:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    asked = f"It was asked for {self.patience_s:.0f} s; mend" if self.patience_s else "Mend"
                    raise InfrastructureError(f"{error} {asked} it and run again, finished stages are kept.") from error
                if not said:
                    self.say(f"{error} Waiting for it, at most {self.patience_s:.0f} s.")
                    said = True
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    return waited


def _meaning(error: Exception, action: str, uri: str) -> InputError | InfrastructureError:
    import requests

    if is_full(error):
        advice = "free some space and run again, finished stages are kept"
        return InputError(f"MLflow failed ({action}): the disk is full; {advice}.")
    if not uri.startswith(("http://", "https://")):
        return InfrastructureError(f"MLflow failed ({action}): {_first_line(error)}")
    status = _status(error)
    if status == _UNAUTHORIZED:
        return InputError(
            f"{uri}: MLflow does not know this user or password; "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    if status == _FORBIDDEN:
        return InputError(
            f"{uri}: MLflow forbids it ({action}: {_first_line(error)}); "
            "give the user the right to it, or the server this name among its allowed hosts."
        )
    for cause in _chain(error):
        if isinstance(cause, requests.exceptions.SSLError):
            advice = "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of its authority"
            return InputError(f"{uri}: MLflow's TLS is not trusted ({_first_line(cause)[-120:]}); {advice}.")
        if isinstance(cause, requests.exceptions.InvalidURL):
            return InputError(f"tracking_uri: '{uri}' is no URL of a server.")
    if status is None:
        return Unavailable(f"MLflow at {uri} does not answer ({action}: {_reason(error)}).", answered=False)
    if status >= _SERVER_FAULT or status in _BUSY:
        return Unavailable(f"MLflow at {uri} has a fault ({action}: {_first_line(error)}).", answered=True)
    return Refused(f"MLflow at {uri} refused it ({action}: {_first_line(error)}).")


def _status(error: Exception) -> int | None:
    """The HTTP status that came back; None where nothing did."""
    import requests
    from mlflow.exceptions import MlflowException

    for cause in _chain(error):
        if isinstance(cause, requests.exceptions.RetryError):  # it kept answering with a fault of its own
            return _SERVER_FAULT
        if isinstance(cause, requests.exceptions.HTTPError) and cause.response is not None:
            return int(cause.response.status_code)
        if isinstance(cause, requests.exceptions.RequestException):
            return None
    if not isinstance(error, MlflowException):
        return None
    # Of an answer that is not in MLflow's own form, as a proxy's, the status is only in the text.
    if told := re.search(r"failed with error code (\d+)|(successful but the response body was not)", str(error)):
        return int(told[1] or 200)
    return int(error.get_http_status_code())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception) -> str:
    """The operating system's own word for it, from the bottom of a stack of wrappers."""
    import requests

    said = [cause.strerror for cause in _chain(error) if isinstance(cause, OSError) and cause.strerror]
    if said:
        return said[-1].lower()
    if any(isinstance(cause, requests.exceptions.Timeout) for cause in _chain(error)):
        return "it took too long"
    return "the connection broke"


def _first_line(error: Any) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300].rstrip(".")
