"""Puts a pipeline's tasks where the infra file says: images, node pools, volumes, secrets, time limits.

A pipeline in `pipelines/` is wiring only. Here its function is traced once more and every task gets its place, so that
one file compiles for a laptop and for a cluster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl import pipeline_context

from deepperception.faults import Collector, raise_together
from deepperception.infra import Infra
from deepperception.infra_pools import Kubeflow, Pool, StagePlace, layout_of, place_of, placement_faults
from deepperception.platform.attempts import RUN
from deepperception.platform.origin import IMAGE
from deepperception.platform.pods import HUB, OFFLINE, QUEUE, QUIET, STORE_KEYS, TRACKING_KEYS, USER, WORK_MOUNT

IMPORTS = "deepperception.io/imports-models"
"""Label of the one kind of pod that may fetch from a model hub; network policies go by it."""

# What asks a model about a benchmark is placed as an evaluation is; what only reads, as the other light steps.
_LIKE = {
    "scoring": "evaluation",
    "exam": "evaluation",
    "replication": "evaluation",
    "plan": "preflight",
    "selection": "report",
}
_RUN_LABEL = "metadata.labels['workflows.argoproj.io/workflow']"  # Argo names the pods' workflow: one for a run
_HUB_KEYS = ("HF_TOKEN",)
# Argo waits in between: a pool that just lost its nodes has none a second later.
_BACKOFF = {"backoff_duration": "30s", "backoff_factor": 2.0, "backoff_max_duration": "900s"}


def placed(flow: Any, infra: Infra) -> Any:
    """The pipeline `flow` with every task in its place; InputError, with all faults, where the file names no such."""
    faults = Collector()
    faults.add(placement_faults(infra))
    raise_together(faults.faults)
    return _traced(flow, lambda task: _place(task, infra))


def in_image(flow: Any, image: str) -> Any:
    """The pipeline `flow` with every task in `image`, for containers of this machine."""
    return _traced(flow, lambda task: task.set_container_image(image))


def _traced(flow: Any, change: Callable[[dsl.PipelineTask], object]) -> Any:
    @functools.wraps(flow.pipeline_func)
    def body(*args: Any, **kwargs: Any) -> None:
        flow.pipeline_func(*args, **kwargs)
        for task in pipeline_context.Pipeline.get_default_pipeline().tasks.values():
            change(task)

    return dsl.pipeline(name=flow.name, description=flow.description)(body)


def _place(task: dsl.PipelineTask, infra: Infra) -> None:
    assert infra.images is not None and infra.kubeflow is not None, "placement_faults would have said so"
    stage = _LIKE.get(task.component_spec.name, task.component_spec.name)
    place = place_of(infra, stage)
    task.set_container_image(infra.images.trainer)
    if layout_of(infra, stage).processes > 1:
        # The step makes a TrainJob and waits: the GPUs and the time limit are that one's, and a queue may take long.
        _resources(task, infra.pools[place.launcher])
        place = place.model_copy(update={"timeout_s": None})
        task.set_env_variable(WORK_MOUNT, str(infra.work_dir))
    else:
        _resources(task, infra.pools[place.pool])
    _limits(task, place)
    _surroundings(task, stage, infra.kubeflow, str(infra.work_dir), infra.images.trainer)


def _resources(task: dsl.PipelineTask, pool: Pool) -> None:
    # Requests as large as the limits: a pod that was promised less is the first to be evicted.
    task.set_cpu_request(pool.cpu).set_cpu_limit(pool.cpu)
    task.set_memory_request(pool.memory).set_memory_limit(pool.memory)
    if pool.accelerator:
        task.set_accelerator_type(pool.accelerator).set_accelerator_limit(pool.count)
    for key, value in pool.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in pool.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    if pool.queue:
        kubernetes.add_pod_label(task, QUEUE, pool.queue)
    if pool.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=pool.shared_memory)


def _limits(task: dsl.PipelineTask, place: StagePlace) -> None:
    if place.timeout_s:
        kubernetes.set_timeout(task, place.timeout_s)
    if place.retries:
        task.set_retry(place.retries, **_BACKOFF)


def _surroundings(task: dsl.PipelineTask, stage: str, kubeflow: Kubeflow, work_dir: str, image: str) -> None:
    """What a pod finds around it: volumes, secrets, environment, labels, and who it runs as."""
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.mount_pvc(task, kubeflow.work_claim, work_dir)
    kubernetes.mount_pvc(task, kubeflow.hub_claim, HUB)
    # The first pod must start without its secrets to be able to name the one that is missing, the last to report it.
    optional = stage in ("preflight", "ending")
    for secret, keys in ((kubeflow.store_secret, STORE_KEYS), (kubeflow.tracking_secret, TRACKING_KEYS)):
        kubernetes.use_secret_as_env(task, secret, {key: key for key in keys}, optional=optional)
    if kubeflow.hub_secret and stage == "base":
        # Without it the import says what it misses; the pod would wait for the secret without a word.
        kubernetes.use_secret_as_env(task, kubeflow.hub_secret, {key: key for key in _HUB_KEYS}, optional=True)
    kubernetes.use_field_path_as_env(task, RUN, _RUN_LABEL)
    imports = stage == "base"
    kept_apart = QUIET if imports else QUIET | OFFLINE
    for name, value in {**kept_apart, IMAGE: image}.items():
        task.set_env_variable(name, value)
    labels = {"part-of": "deepperception", "name": stage, "component": "step"}
    for key, value in labels.items():
        kubernetes.add_pod_label(task, f"app.kubernetes.io/{key}", value)
    if imports:
        kubernetes.add_pod_label(task, IMPORTS, "true")
