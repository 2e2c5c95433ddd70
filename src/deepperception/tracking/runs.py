"""Records become MLflow's runs: found by key, written whole, one for each key however often and by whomever sent.

A run is FINISHED last, so half of a record is never taken for a whole one. MLflow has no unique keys: where two
processes write the same record at the same time, or a kill left half of one, the first to be finished stays.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepperception.errors import InfrastructureError
from deepperception.tracking.client import database
from deepperception.tracking.failures import reporting
from deepperception.tracking.record import Pipeline, Record

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

INJECTED = "MLFLOW_RUN_ID"
"""Set by a pipeline's runner that keeps MLflow runs itself, as Kubeflow's does: the run of this step."""
KEY, STAGE, PARENT = "deepperception.key", "deepperception.stage", "mlflow.parentRunId"
TRIAL = "trial"
"""Tag of the run that one trial of a search is."""
_PIPELINE = "deepperception.pipeline"  # the key of the pipeline that a stage is of; ids may change under a race
_RECORD, _SENT, _ATTACHED = "deepperception.record", "deepperception.sent", "deepperception.attached"
# MLflow's own limits on one request and one value.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE, _LONGEST_PARAM, _LONGEST_TAG = 1000, 100, 6000, 5000
_ATTEMPTS = 5
_DEEPEST = 10


class Runs:
    """The runs of one experiment."""

    def __init__(self, client: MlflowClient, uri: str, experiment: str) -> None:
        self._client, self.uri, self._experiment = client, uri, experiment

    @reporting
    def check(self) -> None:
        """Ask for the experiment, and make it where there is none."""
        self._client.get_experiment(self.experiment_id)

    @reporting
    def open_pipeline(self, pipeline: Pipeline, attach_to: str | None = None) -> str:
        """The pipeline's run, going on; it stays open until its end is written, or it is broken off."""
        found = self._pipeline(pipeline, attach_to)
        if _is_ours(found):
            self._client.update_run(found.info.run_id, status="RUNNING")
        return str(found.info.run_id)

    @reporting
    def look_up(self, key: str) -> tuple[str, str, str] | None:
        """(experiment's id, run's id, status) of the pipeline with this key; makes nothing."""
        known = self._client.get_experiment_by_name(self._experiment)
        if known is None:
            return None
        found = list(self._client.search_runs([known.experiment_id], f"tags.`{KEY}` = '{key}'"))
        first = min(found, key=lambda run: (run.info.start_time, run.info.run_id), default=None)
        return (str(known.experiment_id), str(first.info.run_id), str(first.info.status)) if first else None

    @reporting
    def write(self, record: Record, files: list[Path]) -> str:
        """Write a record and its files, once for each key; returns the run's id."""
        if record.kind == "end":
            return self._write_end(record, files)
        task = self.find(record.attach_to) if record.attach_to else None  # it may be another server's
        if task is not None and task.data.tags.get(STAGE, record.stage) == record.stage:
            self._pipeline(record.pipeline, record.attach_to)
            return self._write_into(task, record, files)
        pipeline = self._pipeline(record.pipeline, record.attach_to)
        return self._write_own(record, files, pipeline)

    @reporting
    def break_off(self, key: str, status: str) -> None:
        """Close a pipeline's run that came to no end, and its trials'; nothing happens where it never began."""
        for run in self._find_all(key):
            if _is_ours(run):
                for below in self._below(run):
                    if TRIAL in below.data.tags and below.info.status == "RUNNING":
                        self._client.set_terminated(below.info.run_id, status)
                self._client.set_terminated(run.info.run_id, status)

    def find(self, run_id: str) -> Run | None:
        """The run with this id; None where there is none that this user may see, or it was deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            # To a user without rights a server says "forbidden" of what does not exist, too.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"):
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def find_by_digest(self, digest: str) -> Run | None:
        """The stage run that made the artifact with this digest, the first where there are several."""
        wanted = f"tags.digest = '{digest}' and attributes.status = 'FINISHED'"
        found = self._client.search_runs([self.experiment_id], wanted, order_by=["start_time ASC"])
        return next((run for run in found if KEY in run.data.tags), None)

    def _write_own(self, record: Record, files: list[Path], pipeline: Run) -> str:
        parent = str(pipeline.info.run_id)
        for _ in range(_ATTEMPTS):
            known = self._find_all(record.key, record.pipeline.key)
            finished = sorted(
                (run for run in known if run.info.status == "FINISHED"),
                key=lambda run: (int(run.data.tags.get(_SENT, 0)), run.info.run_id),
            )
            if finished:
                for run in known:
                    if run is not finished[0]:
                        self._client.delete_run(run.info.run_id)
                if finished[0].data.tags.get(PARENT) != parent:
                    self._client.set_tag(finished[0].info.run_id, PARENT, parent)
                return str(finished[0].info.run_id)
            if _is_ours(pipeline) and _was_over(pipeline, record):
                self._client.update_run(parent, status="RUNNING")
            mine = [str(run.info.run_id) for run in known if run.data.tags.get(_RECORD) == record.id]
            run_id = mine[0] if mine else self._create_stage(record, parent)
            try:
                self._fill(run_id, record, files)
                self._client.set_tag(run_id, _SENT, str(int(time.time() * 1000)))
                self._client.set_terminated(run_id, "FINISHED", record.time_ms)
            except Exception:
                if not self._is_gone(run_id):
                    raise
                # Another process finished the same record first and dropped this one: the next round finds it.
        why = f"the record of {record.name} does not stay; look at the server"
        raise InfrastructureError(f"MLflow at {self.uri}: {why}.")

    def _create_stage(self, record: Record, parent: str) -> str:
        own = {KEY: record.key, _PIPELINE: record.pipeline.key, STAGE: record.name, _RECORD: record.id, PARENT: parent}
        return self._create(record.name, {**record.tags, **own}, record.started_ms)

    def _write_into(self, task: Run, record: Record, files: list[Path]) -> str:
        """Write into the run that the pipeline's runner began, and leave its name and its end to that runner."""
        run_id, done = str(task.info.run_id), f"{KEY}.{record.name}"
        if task.data.tags.get(done) == record.key:
            return run_id
        # Two records of one step, as the validation and the test of an evaluation, have scores of the same names.
        prefix = "" if record.name == record.stage else f"{record.name.removeprefix(f'{record.stage}-')}."
        self._set_tags(run_id, {STAGE: record.stage, **{f"{prefix}{key}": value for key, value in record.tags.items()}})
        self._fill(run_id, record, files, prefix=prefix, known=task.data.params)
        self._client.set_tag(run_id, KEY if not prefix else f"{prefix}{KEY}", record.key)
        self._client.set_tag(run_id, done, record.key)
        return run_id

    def _write_end(self, record: Record, files: list[Path]) -> str:
        """Again, it replaces files and tags, and leaves the scores that did not change."""
        pipeline = self._pipeline(record.pipeline, record.attach_to)
        run_id, known = str(pipeline.info.run_id), pipeline.data.metrics
        unchanged = {name for name, value in record.metrics.items() if known.get(name) == value}
        self._log_metrics(run_id, record, skip=unchanged)
        self._set_tags(run_id, record.tags)
        self._log_files(run_id, files)
        if _is_ours(pipeline):
            self._client.set_terminated(run_id, "FINISHED", record.time_ms)
        return run_id

    def _fill(
        self, run_id: str, record: Record, files: list[Path], *, prefix: str = "", known: Collection[str] = ()
    ) -> None:
        self._log_params(run_id, record.params, known)
        self._log_metrics(run_id, record, prefix=prefix)
        self._log_files(run_id, files, folder=prefix.rstrip(".") or None)

    def _pipeline(self, pipeline: Pipeline, attach_to: str | None) -> Run:
        """The runner's own run above the task's, or ours by key; made where there is none, complete in any case.

        A runner that keeps runs itself has one for each trial, too; above all of them is the recipe's.
        """
        above = self._above(attach_to)
        pipeline = pipeline.top if above else pipeline
        found = above or self._find_pipeline(pipeline)
        run_id, known = str(found.info.run_id), found.data
        if above and known.tags.get(KEY) != pipeline.key:
            self._set_tags(run_id, {KEY: pipeline.key, _ATTACHED: "true", **pipeline.tags})
            found = self._client.get_run(run_id)
        self._log_params(run_id, pipeline.params, known.params)  # a kill may have left it without some
        return found

    def _find_pipeline(self, pipeline: Pipeline) -> Run:
        found = self._find_pipelines(pipeline.key)
        if not found:
            parent = {PARENT: str(self._pipeline(pipeline.above, None).info.run_id)} if pipeline.above else {}
            self._create(pipeline.name, {KEY: pipeline.key, **pipeline.tags, **parent})
            found = self._find_pipelines(pipeline.key)
        first, *doubles = found
        for double in doubles:  # two steps began it at the same time; whoever sees both mends it, in the same way
            for below in self._below(double):
                self._client.set_tag(below.info.run_id, PARENT, first.info.run_id)
            if _is_ours(double):
                self._client.delete_run(double.info.run_id)
        return first

    def _find_pipelines(self, key: str) -> list[Run]:
        return sorted(self._find_all(key), key=lambda run: (run.info.start_time, run.info.run_id))

    def _below(self, run: Run) -> list[Run]:
        return self._search(f"tags.`{PARENT}` = '{run.info.run_id}'")

    def _above(self, attach_to: str | None) -> Run | None:
        """The run at the top, above the task's; a task in a loop or a nested pipeline has more than one above it."""
        run = self.find(attach_to) if attach_to else None
        for _ in range(_DEEPEST):
            parent = run.data.tags.get(PARENT) if run is not None else None
            if parent is None:
                break
            run = self._client.get_run(parent)
        return None if run is None or run.info.run_id == attach_to else run

    def _is_gone(self, run_id: str) -> bool:
        return bool(self._client.get_run(run_id).info.lifecycle_stage != "active")

    @functools.cached_property
    def experiment_id(self) -> str:
        """Of the experiment, made where there is none."""
        known = self._client.get_experiment_by_name(self._experiment)
        if known is None:
            return self._create_experiment()
        if known.lifecycle_stage == "deleted":
            self._client.restore_experiment(known.experiment_id)
        return str(known.experiment_id)

    def _create_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        path = database(self.uri)
        location = (path.parent / "mlflow-artifacts").as_uri() if path else None
        try:
            return str(self._client.create_experiment(self._experiment, artifact_location=location))
        except MlflowException as error:
            known = self._client.get_experiment_by_name(self._experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or known is None:
                raise
            return str(known.experiment_id)

    def _find_all(self, key: str, pipeline: str | None = None) -> list[Run]:
        """The runs with this key: a pipeline's, or of the stage of the pipeline with that key."""
        return self._search(f"tags.`{KEY}` = '{key}'" + (f" and tags.`{_PIPELINE}` = '{pipeline}'" if pipeline else ""))

    def _search(self, wanted: str) -> list[Run]:
        return list(self._client.search_runs([self.experiment_id], filter_string=wanted))

    def _create(self, name: str, tags: Mapping[str, str], started_ms: int | None = None) -> str:
        within = {key: value[:_LONGEST_TAG] for key, value in tags.items()}
        run = self._client.create_run(self.experiment_id, run_name=name, tags=within, start_time=started_ms)
        return str(run.info.run_id)

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(key, value[:_LONGEST_TAG]) for key, value in tags.items()])

    def _log_params(self, run_id: str, params: Mapping[str, Any], known: Collection[str] = ()) -> None:
        from mlflow.entities import Param

        rows = [Param(key, value[:_LONGEST_PARAM]) for key, value in _flat(params) if key not in known]
        for start in range(0, len(rows), _PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=rows[start : start + _PARAMS_AT_ONCE])

    def _log_metrics(self, run_id: str, record: Record, *, prefix: str = "", skip: Collection[str] = ()) -> None:
        from mlflow.entities import Metric

        points = [point for point in record.points if point[0] not in skip]
        rows = [Metric(prefix + name, value, record.time_ms, step) for name, value, step in points]
        for start in range(0, len(rows), _METRICS_AT_ONCE):
            self._client.log_batch(run_id, metrics=rows[start : start + _METRICS_AT_ONCE])

    def _log_files(self, run_id: str, files: list[Path], folder: str | None = None) -> None:
        for path in files:
            if path.is_dir():
                within = f"{folder}/{path.name}" if folder else path.name
                self._client.log_artifacts(run_id, str(path), artifact_path=within)
            else:
                self._client.log_artifact(run_id, str(path), artifact_path=folder)


def _is_ours(pipeline: Run) -> bool:
    """Whether we began the run; whoever did also ends it."""
    return _ATTACHED not in pipeline.data.tags


def _was_over(pipeline: Run, record: Record) -> bool:
    """Whether the pipeline ended before this record: it is going on, then. A late record reopens nothing."""
    return pipeline.info.status != "RUNNING" and (pipeline.info.end_time or 0) < record.time_ms


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as `sft.learning_rate`, the way that --set names them."""
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)
