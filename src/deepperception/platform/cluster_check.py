"""`check` and `submit` before they touch a cluster: everything that would fail, told at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import yaml

from deepperception.errors import InputError
from deepperception.faults import Collector, raise_together
from deepperception.infra import Infra
from deepperception.infra_pools import STAGES, image_faults, layout_of, place_of, placement_faults
from deepperception.platform.installed import check_cluster_components, check_pipelines
from deepperception.platform.kubeflow import Pipelines
from deepperception.platform.packages import PIPELINES, compiled, version_name
from deepperception.platform.preflight import check_base, check_source, check_store, check_tracking
from deepperception.recipe import Recipe

_INSIDE = ".svc.cluster.local"


def check_cluster(recipe: Recipe, infra: Infra, *, allow_tags: bool) -> list[str]:
    """Render and look at everything; returns what was found, a line each. Raises all faults as one error."""
    found, told = Collector(), list[str]()
    placement = placement_faults(infra)
    found.add(placement)
    if not allow_tags:
        found.add(image_faults(infra.images))
    with found():
        _check_reachable_base(recipe.model.base)
    with found():
        recipe.grpo.shared_by(layout_of(infra, "grpo").processes)
    with found():
        if recipe.synthesis.source.kind != "folder":  # that is a path in the pods; the pre-flight looks there
            check_source(recipe)
    if infra.kubeflow is not None and not any(fault.startswith("kubeflow.endpoint") for fault in placement):
        with found():
            pipelines = Pipelines(infra.kubeflow)
            users = "many users" if pipelines.many_users else "one user: it runs all in its namespace"
            version = check_pipelines(pipelines, found)
            told.append(f"Kubeflow Pipelines, {version}, answers at {infra.kubeflow.endpoint}, for {users}")
    told += check_cluster_components(infra, found)
    for line in _looked_at_from_here(infra, found):
        told.append(line)
    if not placement:
        for name in PIPELINES:
            package = compiled(name, infra)
            tasks = sum(len(part["dag"]["tasks"]) for part in _parts(package))
            told.append(f"pipeline {name} {version_name(package)}: {tasks} tasks")
    raise_together(found.faults)
    return [*told, *(_in_words(infra, stage) for stage in STAGES)]


def _check_reachable_base(base: str) -> None:
    if "://" not in base:
        raise InputError(
            f"model.base: '{base}' is a folder of one machine; give hf://ORG/NAME@COMMIT, package://NAME/FOLDER, or a"
            " reference into the store."
        )
    check_base(base)


def _looked_at_from_here(infra: Infra, found: Collector) -> Iterator[str]:
    """Store and MLflow are looked at where this machine may; the run's pre-flight looks in any case."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or not infra.store.startswith("s3://"):
        with found():
            check_store(infra)
            yield f"the store {infra.store} takes and gives"
    else:
        yield f"not looked at from here: the store {infra.store} (no AWS_ACCESS_KEY_ID); the run's pre-flight does"
    if _INSIDE not in infra.tracking_uri:
        with found():
            check_tracking(infra.tracking_uri)
            yield f"MLflow answers at {infra.tracking_uri}"
    else:
        yield f"not looked at from here: {infra.tracking_uri} is a name inside the cluster; the run's pre-flight does"


def _parts(package: str) -> list[dict[str, Any]]:
    content = next(iter(yaml.safe_load_all(package)))
    return [part for part in (content["root"], *content["components"].values()) if "dag" in part]


def _in_words(infra: Infra, stage: str) -> str:
    place = place_of(infra, stage)
    pool = infra.pools[place.pool]
    device = f", {pool.count} x {pool.accelerator}" if pool.accelerator else ""
    limit = f", at most {place.timeout_s} s" if place.timeout_s else ""
    queue = f", in the queue {pool.queue}" if pool.queue else ""
    own = f"cpu {pool.cpu}, memory {pool.memory}{device}{limit}"
    layout = layout_of(infra, stage)
    if layout.processes == 1:
        return f"{stage}: pool {place.pool}{queue}, {own}"
    return (
        f"{stage}: a TrainJob{queue}, {layout} of pool {place.pool}, each with {own}; made and watched from pool "
        f"{place.launcher}"
    )
