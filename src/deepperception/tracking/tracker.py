"""Runs and registered versions in MLflow: the only code that imports it.

Everything is found again by a key or a digest, so that logging twice, or again after a kill, leaves one record.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from deepperception.artifacts.disk import is_full, locked, replacing
from deepperception.errors import InfrastructureError, InputError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

MODEL = "deepperception"
_KEY, _STAGE, _PARENT = "deepperception.key", "deepperception.stage", "mlflow.parentRunId"
_DIGEST = "digest"
_SQLITE = "sqlite:///"
_DIGESTS = re.compile(r"sha256:[0-9a-f]{64}")
# MLflow's own limits on one request and one value.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE, _LONGEST_PARAM = 1000, 100, 6000

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Version:
    """A registered version of a model: where its bytes are, not the bytes."""

    number: int
    uri: str
    digest: str
    run_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict)


def _reporting(method: Callable[P, R]) -> Callable[P, R]:
    """Turn MLflow's and its database's exceptions into one sentence."""

    @functools.wraps(method)
    def reported(*args: P.args, **kwargs: P.kwargs) -> R:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(*args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            action = method.__name__.strip("_").replace("_", " ")
            if is_full(error):
                advice = "free some space and run again, finished stages are kept"
                raise InputError(f"MLflow failed ({action}): the disk is full; {advice}.") from error
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise InfrastructureError(f"MLflow failed ({action}): {why}") from error

    return reported


class Tracker:
    """Records of one experiment, in a database file (`sqlite:///PATH`, no server) or on a server.

    Artifacts go to the folder `mlflow-artifacts` beside the database file, or where the server keeps them.
    """

    def __init__(self, uri: str, experiment: str, *, create: bool = True) -> None:
        """Open the records, and make them where there are none: or, with `create=False`, raise InputError.

        InfrastructureError where they cannot be opened.
        """
        self.uri, self._experiment = uri, experiment
        if not create and not is_there(uri):  # a mistyped folder is no empty registry
            raise InputError(f"{_database(uri)}: there is no such database; give the folder of a run with --out.")
        _import_quietly()
        self._client = self._open()

    @_reporting
    def pipeline_run(self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """The run of a whole pipeline, found again by `key`, or begun; it stays open until `finish` or `break_off`."""
        known: Collection[str] = ()
        if found := self._find_all(key):
            run_id, known = str(found[0].info.run_id), found[0].data.params  # a kill may have left it without some
            self._client.update_run(run_id, status="RUNNING")
        else:
            run_id = self._create(name, {_KEY: key, **tags})
        self._log_params(run_id, params, known)
        return run_id

    @_reporting
    def stage_run(
        self,
        parent: str,
        stage: str,
        key: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        curves: Sequence[Mapping[str, Any]] = (),
        artifacts: Sequence[Path] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """The run of one finished stage, nested under its pipeline's: logged whole, once for each `key`.

        `curves` are rows such as `{"step": 20, "loss": 0.31}`; `artifacts` are files and folders. A record that a kill
        left half written is dropped and written again.
        """
        for run in self._find_all(key, parent):
            if run.info.status == "FINISHED":
                return str(run.info.run_id)
            self._client.delete_run(run.info.run_id)
        run_id = self._create(stage, {_KEY: key, _STAGE: stage, _PARENT: parent, **(tags or {})})
        self._log_params(run_id, params or {})
        self._log_metrics(run_id, [{"step": 0, **(metrics or {})}, *curves])
        for path in artifacts:
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), artifact_path=path.name)
            else:
                self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, "FINISHED")
        return run_id

    @_reporting
    def finish(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        artifacts: Sequence[Path] = (),
    ) -> None:
        """Close a finished pipeline's run. Again, it replaces its artifacts and leaves metrics that did not change."""
        known = self._client.get_run(run_id).data.metrics
        self._log_metrics(run_id, [{k: v for k, v in (metrics or {}).items() if known.get(k) != v}])
        for path in artifacts:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, "FINISHED")

    @_reporting
    def break_off(self, key: str, status: Literal["FAILED", "KILLED"]) -> None:
        """Close a pipeline's run that came to no end; nothing happens where it never began."""
        for run in self._find_all(key):
            self._client.set_terminated(run.info.run_id, status)

    @_reporting
    def register(self, name: str, uri: str, digest: str, run_id: str | None, tags: Mapping[str, str]) -> int:
        """The number of the version with this digest, made where there is none; its tags are brought up to date."""
        if not any(model.name == name for model in self._client.search_registered_models(f"name = '{name}'")):
            self._client.create_registered_model(name)
        if known := self._versions(name, digest):
            for key, value in tags.items():
                if known[0].tags.get(key) != value:
                    self._client.set_model_version_tag(name, str(known[0].number), key, value)
            return known[0].number
        made = self._client.create_model_version(name, source=uri, run_id=run_id, tags={**tags, _DIGEST: digest})
        return int(made.version)

    @_reporting
    def alias(self, name: str, alias: str) -> Version | None:
        """The version that an alias points to; None where there is no such alias or model."""
        for model in self._client.search_registered_models(f"name = '{name}'"):
            if alias in model.aliases:
                return _version(self._client.get_model_version(name, str(model.aliases[alias])))
        return None

    @_reporting
    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; from one moment to the next."""
        self._client.set_registered_model_alias(name, alias, str(version))

    @_reporting
    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; nothing happens where it is not there."""
        self._client.delete_registered_model_alias(name, alias)

    @_reporting
    def versions(self, name: str) -> list[Version]:
        """All versions, oldest first."""
        return self._versions(name)

    @_reporting
    def referenced(self, *, since_s: float) -> set[str]:
        """Every digest that a registered version names, or a run that was alive after `since_s` (Unix time).

        Named is what stands in a tag or a parameter. A run is alive as long as it, or one that it is nested in, has not
        ended. Models and experiments of all names count, for they may share a store.
        """
        versions = _pages(lambda token: self._client.search_model_versions(page_token=token))
        named = [value for version in versions for value in version.tags.values()]
        runs = {run.info.run_id: run for run in self._all_runs()}

        def is_recent(run: Run | None) -> bool:
            if run is None:
                return False
            last_ms = max(run.info.start_time or 0, run.info.end_time or 0)
            open_still = run.info.status not in ("FINISHED", "FAILED", "KILLED")
            return open_still or last_ms >= since_s * 1000 or is_recent(runs.get(run.data.tags.get(_PARENT, "")))

        for run in filter(is_recent, runs.values()):
            named += [*run.data.tags.values(), *run.data.params.values()]
        return {digest for value in named for digest in _DIGESTS.findall(value)}

    def _all_runs(self) -> Iterator[Run]:
        experiments = _pages(lambda token: self._client.search_experiments(page_token=token))
        places = [experiment.experiment_id for experiment in experiments]
        yield from _pages(lambda token: self._client.search_runs(places, page_token=token))

    def _versions(self, name: str, digest: str | None = None) -> list[Version]:
        wanted = f"name = '{name}'" + (f" and tags.{_DIGEST} = '{digest}'" if digest else "")
        found, page = [], None
        while True:
            part = self._client.search_model_versions(wanted, page_token=page)
            found += [_version(version) for version in part]
            page = part.token
            if not page:
                return sorted(found, key=lambda version: version.number)

    @_reporting
    def _open(self) -> MlflowClient:
        from mlflow.tracking import MlflowClient

        if database := _database(self.uri):
            _create_database(database)
        elif not self.uri.startswith(("http://", "https://")):
            raise InputError(
                f"tracking_uri: '{self.uri}' is not understood; give sqlite:///PATH or an MLflow server's URL."
            )
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @functools.cached_property
    def _experiment_id(self) -> str:
        known = self._client.get_experiment_by_name(self._experiment)
        if known is None:
            location = (database.parent / "mlflow-artifacts").as_uri() if (database := _database(self.uri)) else None
            return str(self._client.create_experiment(self._experiment, artifact_location=location))
        if known.lifecycle_stage == "deleted":
            self._client.restore_experiment(known.experiment_id)
        return str(known.experiment_id)

    def _find_all(self, key: str, parent: str | None = None) -> list[Run]:
        wanted = f"tags.`{_KEY}` = '{key}'" + (f" and tags.`{_PARENT}` = '{parent}'" if parent else "")
        return list(self._client.search_runs([self._experiment_id], filter_string=wanted))

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        return str(self._client.create_run(self._experiment_id, run_name=name, tags=dict(tags)).info.run_id)

    def _log_params(self, run_id: str, params: Mapping[str, Any], known: Collection[str] = ()) -> None:
        from mlflow.entities import Param

        rows = [Param(key, value[:_LONGEST_PARAM]) for key, value in _flat(params) if key not in known]
        for start in range(0, len(rows), _PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=rows[start : start + _PARAMS_AT_ONCE])

    def _log_metrics(self, run_id: str, curves: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [
            Metric(key, float(value), now, int(row.get("step", 0)))
            for row in curves
            for key, value in row.items()
            if key != "step" and isinstance(value, int | float)
        ]
        for start in range(0, len(rows), _METRICS_AT_ONCE):
            self._client.log_batch(run_id, metrics=rows[start : start + _METRICS_AT_ONCE])


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """All that a search of MLflow's finds, page by page."""
    token: str | None = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


def is_there(uri: str) -> bool:
    """Whether there are records to open; a server is taken at its word."""
    return (database := _database(uri)) is None or database.is_file()


def _database(uri: str) -> Path | None:
    """The file behind a database's URI; None for all others."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def _import_quietly() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is first imported
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow uses of SQLAlchemy what will go one day
        import mlflow.store.tracking.sqlalchemy_store
        import mlflow.tracking  # noqa: F401
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)  # what it logs it also raises


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


def _version(version: Any) -> Version:
    return Version(
        int(version.version), version.source, version.tags.get(_DIGEST, ""), version.run_id, dict(version.tags)
    )


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as `sft.learning_rate`, the way that --set names them."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)
