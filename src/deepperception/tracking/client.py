"""Opening MLflow: a server by its URL, or a database file with no server."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deepperception.artifacts.disk import locked, replacing
from deepperception.errors import InputError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_SQLITE = "sqlite:///"
# MLflow's own would try a dead server for minutes at every request. What must wait for it waits above (failures.py).
_TRANSPORT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds, each try
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def open_client(uri: str) -> MlflowClient:
    """A client of the records at `uri`; makes the database where there is none. A server is not asked yet."""
    from mlflow.tracking import MlflowClient

    if path := database(uri):
        _create_database(path)
    elif not is_server(uri):
        raise InputError(f"tracking_uri: '{uri}' is not understood; give sqlite:///PATH or an MLflow server's URL.")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def is_server(uri: str) -> bool:
    """Whether this is a URL."""
    return uri.startswith(("http://", "https://")) and bool(urlsplit(uri).hostname)


def is_there(uri: str) -> bool:
    """Whether there are records to open; a server is taken at its word."""
    return (path := database(uri)) is None or path.is_file()


def database(uri: str) -> Path | None:
    """The file behind a database's URI; None for all others."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def import_quietly() -> None:
    """Import MLflow without its telemetry, its logging and its dependencies' warnings."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is first imported
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name, value in _TRANSPORT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow uses of SQLAlchemy what will go one day
        import mlflow.store.tracking.sqlalchemy_store
        import mlflow.tracking  # noqa: F401
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)  # what it logs it also raises
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for every retry


def _create_database(path: Path) -> None:
    """Create the tables under another name first: a database that a kill left without some of them cannot be opened."""
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with locked(path.with_name(f".{path.name}.lock"), lambda: None):
        if path.exists():
            return
        with replacing(path) as building:
            # With a killed attempt's journal beside it, SQLite would roll the new file back into the old one.
            for leftover in (building, building.with_name(f"{building.name}-journal")):
                leftover.unlink(missing_ok=True)
            store = SqlAlchemyStore(f"{_SQLITE}{building}", str(path.parent / "mlflow-artifacts"))
            store.engine.dispose()


def pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """All that a search of MLflow's finds; `search` takes the token of a page."""
    token: str | None = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
