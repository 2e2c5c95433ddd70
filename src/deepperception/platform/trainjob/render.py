"""The TrainJob of a stage, as it is sent: a pure function of the recipe, the infra file and the stage.

Resource and field names are those of Kubeflow Trainer 2.2, whose `runtimePatches` change what a TrainingRuntime says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepperception.infra import Infra
from deepperception.infra_pools import Layout, Pool, StagePlace, layout_of, place_of
from deepperception.platform.attempts import RUN
from deepperception.platform.origin import IMAGE
from deepperception.platform.pods import HUB, OFFLINE, QUEUE, QUIET, STORE_KEYS, TRACKING_KEYS, USER
from deepperception.recipe import Recipe

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUNTIME = "deepperception-torch"
"""Our TrainingRuntime, in manifests/components/gpu."""
NODE = "node"
"""What the runtime calls its job and its container."""
SPEC = "deepperception.io/spec"
"""Annotation: the digest of everything that a TrainJob was asked for."""

_MANAGER = "deepperception.io/launcher"
_FOLDER = "trainjobs"
# JobSet calls a pod NAME-node-0-INDEX-xxxxx, which is a host's name and no longer than 63 characters.
_LONGEST_NAME, _DIGITS = 40, 8

TrainJob = dict[str, Any]


def job_name(stage: str, recipe: Recipe, infra: Infra) -> str:
    """The same for the same run, stage, recipe and seed, so that a second attempt meets the job of the first."""
    content = json.dumps([str(infra.work_dir), stage, recipe.to_json()])
    label = f"{recipe.name}-{stage}-{recipe.seed}".replace("_", "-")
    if not label[0].isalpha():  # a DNS label of the older kind begins with a letter
        label = f"dp-{label}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]
    return f"{label[: _LONGEST_NAME - _DIGITS - 1].rstrip('-')}-{digest}"


def job_folder(infra: Infra, name: str) -> Path:
    """Where the launcher and the job's processes leave word for each other, on the volume that they share."""
    return infra.work_dir / _FOLDER / name


def render(
    stage: str, recipe: Recipe, infra: Infra, mount: Path, call: str | None = None, own: Mapping[str, str] | None = None
) -> TrainJob:
    """The object. `mount` is where the claim with the work folders is mounted.

    With `call`, what the processes are to do, it carries the digest of all that it asks for. `own` is environment of
    this attempt alone, which the digest leaves out.
    """
    assert infra.images is not None and infra.kubeflow is not None, "placement_faults would have said so"
    name, place = job_name(stage, recipe, infra), place_of(infra, stage)
    pool = infra.pools[place.pool]
    job: TrainJob = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": name,
            "namespace": infra.kubeflow.namespace,
            "labels": {
                "app.kubernetes.io/part-of": "deepperception",
                "app.kubernetes.io/name": stage,
                "app.kubernetes.io/component": "trainjob",
                **({QUEUE: pool.queue} if pool.queue else {}),
            },
        },
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
            "trainer": _trainer(layout_of(infra, stage), infra, pool, job_folder(infra, name)),
            "runtimePatches": [{"manager": _MANAGER, "trainingRuntimeSpec": _patch(infra, place, mount)}],
            **({"activeDeadlineSeconds": place.timeout_s} if place.timeout_s else {}),
        },
    }
    if call is not None:
        job["metadata"]["annotations"] = {SPEC: _digest(job, call)}
    job["spec"]["trainer"]["env"] += [{"name": key, "value": value} for key, value in sorted((own or {}).items())]
    return job


def _trainer(layout: Layout, infra: Infra, pool: Pool, folder: Path) -> dict[str, Any]:
    assert infra.images is not None
    amounts = {"cpu": pool.cpu, "memory": pool.memory}
    if pool.accelerator:
        amounts[pool.accelerator] = str(pool.count)
    return {
        "image": infra.images.trainer,
        # Where the nodes meet, and how many they are, Trainer tells torchrun in the environment.
        "command": ["torchrun"],
        "args": ["--module", "deepperception.platform.trainjob.rank", str(folder)],
        "env": _environment(infra),
        "numNodes": layout.nodes,
        "numProcPerNode": layout.processes_per_node,
        "resourcesPerNode": {"requests": amounts, "limits": dict(amounts)},
    }


def _environment(infra: Infra) -> list[dict[str, Any]]:
    assert infra.images is not None and infra.kubeflow is not None
    plain = {**QUIET, **OFFLINE, IMAGE: infra.images.trainer, "MLFLOW_TRACKING_URI": infra.tracking_uri}
    secret = {
        key: name
        for name, keys in (
            (infra.kubeflow.store_secret, STORE_KEYS),
            (infra.kubeflow.tracking_secret, TRACKING_KEYS),
        )
        for key in keys
    }
    return [
        *({"name": key, "value": value} for key, value in plain.items()),
        *(
            {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
            for key, name in secret.items()
        ),
    ]  # fmt: skip


def _patch(infra: Infra, place: StagePlace, mount: Path) -> dict[str, Any]:
    """What this job's pods have that the runtime's do not: the nodes of their pool, the infra file's volumes."""
    assert infra.kubeflow is not None
    pool = infra.pools[place.pool]
    volumes: list[dict[str, Any]] = [
        {"name": "work", "persistentVolumeClaim": {"claimName": infra.kubeflow.work_claim}},
        {"name": "hub", "persistentVolumeClaim": {"claimName": infra.kubeflow.hub_claim}},
    ]
    mounts = [{"name": "work", "mountPath": str(mount)}, {"name": "hub", "mountPath": HUB}]
    if pool.shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pool.shared_memory}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    pod = {
        "serviceAccountName": infra.kubeflow.service_account,
        "nodeSelector": dict(pool.node_selector),
        "tolerations": [each.model_dump(exclude_none=True) for each in pool.tolerations],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": volumes,
        "containers": [
            {
                "name": NODE,
                "volumeMounts": mounts,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    pod = {key: value for key, value in pod.items() if value}
    job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return {"template": {"spec": {"replicatedJobs": [job]}}}


def _digest(job: TrainJob, call: str) -> str:
    content = json.dumps([job, call], sort_keys=True)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def attempt_environment(environment: Mapping[str, str], also: tuple[str, ...]) -> dict[str, str]:
    """What the job takes on of the launcher's environment: the run that it is of, and `also`."""
    return {key: environment[key] for key in (RUN, *also) if environment.get(key)}
