"""Which artifacts MLflow still speaks of: what a store must keep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deepperception.tracking.client import pages

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_PARENT = "mlflow.parentRunId"
_ENDED = ("FINISHED", "FAILED", "KILLED")
_DIGESTS = re.compile(r"sha256:[0-9a-f]{64}")


def referenced(client: MlflowClient, *, since_s: float) -> set[str]:
    """Every digest that a registered version names, or a run that was alive after `since_s` (Unix time).

    Named is what stands in a tag or a parameter. A run is alive as long as it, or one that it is nested in, has not
    ended. Models and experiments of all names count, for they may share a store.
    """
    versions = pages(lambda token: client.search_model_versions(page_token=token))
    named = [value for version in versions for value in version.tags.values()]
    runs = {run.info.run_id: run for run in _all_runs(client)}

    def is_recent(run: Run | None) -> bool:
        if run is None:
            return False
        last_ms = max(run.info.start_time or 0, run.info.end_time or 0)
        open_still = run.info.status not in _ENDED
        return open_still or last_ms >= since_s * 1000 or is_recent(runs.get(run.data.tags.get(_PARENT, "")))

    for run in filter(is_recent, runs.values()):
        named += [*run.data.tags.values(), *run.data.params.values()]
    return {digest for value in named for digest in _DIGESTS.findall(value)}


def _all_runs(client: MlflowClient) -> Iterator[Run]:
    experiments = pages(lambda token: client.search_experiments(page_token=token))
    places = [experiment.experiment_id for experiment in experiments]
    yield from pages(lambda token: client.search_runs(places, page_token=token))
