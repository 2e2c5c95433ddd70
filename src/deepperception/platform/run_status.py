"""A run on the cluster, as Kubeflow Pipelines tells it: its stages, how long they took, and why one failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from deepperception.infra import Infra
from deepperception.platform.kubeflow import Pipelines
from deepperception.platform.record_link import record_of_run

_LAST_LINES = 10
_DONE = ("SUCCEEDED", "SKIPPED")


def of_cluster(infra: Infra) -> Iterator[str]:
    """The newest runs, a line each."""
    assert infra.kubeflow is not None
    pipelines = Pipelines(infra.kubeflow)
    runs = pipelines.runs()
    if not runs:
        yield "no runs yet; start one with `deepperception submit RECIPE --infra FILE`."
    for run in runs:
        yield f"{run.display_name}  {run.state}  {_age(run.created_at, run.finished_at)}  {run.run_id}"


def of_cluster_run(infra: Infra, name_or_id: str) -> Iterator[str]:
    """One run: its stages in the order they began, and what a failed one said last.

    By its id or its name; of several of one name it is the newest. InputError where there is none.
    """
    assert infra.kubeflow is not None
    pipelines = Pipelines(infra.kubeflow)
    named = pipelines.runs(name_or_id, count=1)
    run = pipelines.run(named[0].run_id if named else name_or_id)
    tasks = [task for task in (run.run_details.task_details or [] if run.run_details else []) if _is_stage(task)]
    done = sum(task.state in _DONE for task in tasks)
    took = _age(run.created_at, run.finished_at)
    yield f"{run.display_name}  {run.state}  {took}  {done} of the {len(tasks)} stages that began are done"
    width = max((len(task.display_name) for task in tasks), default=0)
    for task in sorted(tasks, key=_begun):
        yield f"  {task.display_name:<{width}}  {task.state:<9}  {_age(task.start_time, task.end_time)}"
        if task.state == "FAILED":
            yield from _why(task, infra.kubeflow.namespace)
    if run.state == "FAILED" and run.error and run.error.message:
        yield from (f"  {line}" for line in run.error.message.splitlines()[-_LAST_LINES:])
    if link := pipelines.link(run.run_id):
        yield f"  page    {link}"
    yield f"  record  {record_of_run(infra, run)}"


def _is_stage(task: Any) -> bool:
    """Kubeflow lists its own helpers among the tasks; of those, only a failure is of interest."""
    name = task.display_name or ""
    helper = name in ("root", "executor") or name.endswith("-driver") or name.startswith("exit-handler")
    return bool(name) and (not helper or task.state == "FAILED")


def _why(task: Any, namespace: str) -> Iterator[str]:
    if task.error and task.error.message:
        yield from (f"      {line}" for line in task.error.message.splitlines()[-_LAST_LINES:])
    pods = [task.pod_name, *(child.pod_name for child in task.child_tasks or [])]
    for pod in [pod for pod in pods if pod][-1:]:
        yield f"      its log: kubectl logs --namespace {namespace} {pod} --container main"


def _begun(task: Any) -> datetime:
    return task.start_time or task.create_time or datetime.max.replace(tzinfo=UTC)


def _age(start: datetime | None, end: datetime | None) -> str:
    if start is None:
        return "not begun"
    seconds = int(((end or datetime.now(UTC)) - start).total_seconds())
    return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
