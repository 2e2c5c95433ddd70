"""Why a workload is not ready, in the cluster's own words."""

from __future__ import annotations

from typing import Any

import pytest

from deepperception.platform.deploy.objects import Object
from deepperception.platform.deploy.readiness import State, look, pod_trouble


class Answers:
    """A cluster that holds what it is given, by type."""

    def __init__(self, **held: Any) -> None:
        self._held = held

    def get(self, kind: str, *_: str) -> Any:
        return self._held.get(kind)


def container(**status: Any) -> Object:
    return {"status": {"containerStatuses": [{"name": "main", **status}]}}


TROUBLES = [
    ({"status": {}}, "", "just made"),
    (container(state={"waiting": {"reason": "ContainerCreating"}}), "", "on its way"),
    (container(state={"running": {}}), "", "running, not ready yet"),
    (
        container(state={"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
        "main ErrImagePull: not found",
        "no such image",
    ),
    (
        container(
            state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        ),
        "main CrashLoopBackOff, it ended with 137 (OOMKilled): back-off 40s",
        "the reason is in the last state",
    ),
    (container(state={"terminated": {"exitCode": 2}}), "main ended with 2", "a Job's pod that failed"),
    (container(state={"terminated": {"exitCode": 0}}), "", "a Job's pod that is done"),
    (
        {"status": {"initContainerStatuses": [{"name": "dump", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}},
        "dump CrashLoopBackOff",
        "an init container",
    ),
    (
        {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: no GPU"}]}},
        "0/3 nodes: no GPU",
        "no node takes it",
    ),
]


@pytest.mark.parametrize(("pod", "told", "why"), TROUBLES, ids=[why for _, _, why in TROUBLES])
def test_a_pods_trouble_is_told(pod: Object, told: str, why: str) -> None:
    assert pod_trouble(pod) == told


def workload(**status: Any) -> Object:
    meta = {"name": "front", "namespace": "deepperception", "generation": 2}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "front"}}}
    return {"kind": "Deployment", "metadata": meta, "spec": spec, "status": status}


DONE = {"observedGeneration": 2, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2}
REFUSED = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: ceiling"}
STATES = [
    (None, State(False, "not there yet"), "the controller has not seen it"),
    (workload(**DONE), State(True, "ready (2 of 2)"), "all are there"),
    (workload(**{**DONE, "observedGeneration": 1}), State(False, "2 of 2 ready"), "those are of the old version"),
    (workload(**{**DONE, "updatedReplicas": 1}), State(False, "2 of 2 ready"), "the roll-out is half done"),
    (workload(**{**DONE, "replicas": 3}), State(False, "2 of 2 ready"), "an old pod is still there"),
    (workload(conditions=[REFUSED]), State(False, "0 of 2 ready: exceeded quota: ceiling"), "the quota refuses pods"),
]


@pytest.mark.parametrize(("found", "state", "why"), STATES, ids=[why for _, _, why in STATES])
def test_a_workloads_state(found: Object | None, state: State, why: str) -> None:
    assert look(Answers(deployment=found), workload()) == state  # type: ignore[arg-type]


def test_what_has_no_pods_is_explained_by_its_warnings() -> None:
    events = {"items": [{"message": "forbidden: violates PodSecurity"}]}
    cluster = Answers(deployment=workload(), pods={"items": []}, events=events)
    assert look(cluster, workload()).why == "0 of 2 ready: forbidden: violates PodSecurity"  # type: ignore[arg-type]
