"""Where a cluster's run is on record in MLflow: the link to its page, as far as MLflow can be asked from here."""

from __future__ import annotations

from typing import Any

from deepperception.errors import DeepPerceptionError
from deepperception.infra import Infra
from deepperception.platform.workplace import pipeline_key
from deepperception.recipe import Recipe

_INSIDE = ".svc.cluster.local"


def record_of_run(infra: Infra, run: Any) -> str:
    """In words, with the link where there is one. `run` is Kubeflow's; MLflow is asked once, and not waited for."""
    where = infra.kubeflow.tracking_ui if infra.kubeflow else None
    address = (where or infra.tracking_uri).rstrip("/")
    place = f"{address}, experiment '{infra.experiment}'"
    key = _key(run)
    if key is None:
        return f"{place} (the run was not started with a recipe that this release reads)"
    if _INSIDE in address:
        return f"{place} (a name inside the cluster; kubeflow.tracking_ui names MLflow's address from outside)"
    from deepperception.tracking import Tracker

    try:
        found = Tracker(address, infra.experiment, patience_s=0).runs.look_up(key)
    except DeepPerceptionError as error:
        return f"{place} (not asked for the run: {error})"
    if found is None:
        return f"{place} (no record of this run yet)"
    experiment, run_id, status = found
    if not address.startswith(("http://", "https://")):
        return f"{place}, run {run_id}, {status}"
    return f"{address}/#/experiments/{experiment}/runs/{run_id}  {status}"


def _key(run: Any) -> str | None:
    """What the record is found by: recipe and seed, which the run was started with."""
    given = (run.runtime_config.parameters if run.runtime_config else None) or {}
    try:
        recipe = Recipe.from_json(given["recipe"])
        return pipeline_key(recipe.model_copy(update={"seed": int(given.get("seed", recipe.seed))}))
    except (DeepPerceptionError, KeyError, TypeError, ValueError):
        return None
