"""Whether what was applied runs, and if not, why: in the cluster's own words."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from deepperception.errors import InfrastructureError
from deepperception.platform.deploy.kubectl import Kubectl
from deepperception.platform.deploy.objects import Object, key, of_kind, title

_WAITED_FOR = ("StatefulSet", "Deployment", "Job")
_LOG_LINES = "--tail=5"


@dataclass(frozen=True)
class State:
    """How far a workload is."""

    is_ready: bool
    why: str
    has_failed: bool = False


def wait(
    kubectl: Kubectl, objects: list[Object], deadline_s: float, say: Callable[[str], None], *, poll_s: float = 3.0
) -> None:
    """Until every StatefulSet, Deployment and Job among the objects is ready; says whenever one's state changes.

    InfrastructureError names all that are not ready at the deadline and why, or a Job that failed, with its last lines.
    """
    waiting = {title(each): each for each in of_kind(objects, *_WAITED_FOR)}
    said: dict[str, str] = {}
    ends = time.monotonic() + deadline_s
    while waiting:
        for name, thing in list(waiting.items()):
            state = look(kubectl, thing)
            if said.get(name) != state.why:
                said[name] = state.why
                say(f"{name}: {state.why}")
            if state.has_failed:
                raise InfrastructureError(f"{name} failed: {state.why}")
            if state.is_ready:
                del waiting[name]
        if waiting and time.monotonic() >= ends:
            reasons = "; ".join(f"{name}: {said[name]}" for name in waiting)
            raise InfrastructureError(f"not ready after {deadline_s:.0f} s: {reasons}. Mend it and deploy again.")
        if waiting:
            time.sleep(poll_s)


def look(kubectl: Kubectl, thing: Object) -> State:
    """The state of one workload."""
    namespace, name = key(thing)
    found = kubectl.get(thing["kind"].lower(), name, f"--namespace={namespace}")
    if found is None:
        return State(False, "not there yet")
    return _job(kubectl, found) if thing["kind"] == "Job" else _workload(kubectl, found)


def _job(kubectl: Kubectl, job: Object) -> State:
    for condition in job.get("status", {}).get("conditions", []):
        if condition.get("status") == "True" and condition["type"] == "Complete":
            return State(True, "done")
        if condition.get("status") == "True" and condition["type"] == "Failed":
            namespace, name = key(job)
            log = kubectl.attempt("logs", f"job/{name}", f"--namespace={namespace}", "--all-containers", _LOG_LINES)
            told = " | ".join(log.stdout.split("\n")).strip(" |")
            return State(False, f"{condition.get('message', 'it gave up')}; its last lines: {told}", has_failed=True)
    return State(False, _pods_say(kubectl, job) or "running")


def _workload(kubectl: Kubectl, thing: Object) -> State:
    status, replicas = thing.get("status", {}), thing["spec"].get("replicas", 1)
    is_seen = status.get("observedGeneration", 0) >= thing["metadata"].get("generation", 0)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if is_seen and ready == updated == replicas == status.get("replicas", 0):
        return State(True, f"ready ({ready} of {replicas})")
    conditions = [
        each["message"]
        for each in status.get("conditions", [])
        if each["type"] == "ReplicaFailure" and each["status"] == "True"
    ]
    why = "; ".join(conditions) or _pods_say(kubectl, thing)
    return State(False, f"{ready} of {replicas} ready" + (f": {why}" if why else ""))


def _pods_say(kubectl: Kubectl, owner: Object) -> str:
    """Why its pods are not ready; the warnings about the owner where it has no pods."""
    namespace, name = key(owner)
    labels = owner["spec"].get("selector", {}).get("matchLabels", {})
    selector = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    listed = kubectl.get("pods", f"--namespace={namespace}", f"--selector={selector}") if selector else None
    items = (listed or {}).get("items", [])
    if items:
        return "; ".join(reason for pod in items if (reason := pod_trouble(pod)))
    events = kubectl.get(
        "events", f"--namespace={namespace}", f"--field-selector=involvedObject.name={name},type=Warning"
    )
    messages = [event.get("message", "") for event in (events or {}).get("items", [])]
    return messages[-1] if messages else ""


def pod_trouble(pod: Object) -> str:
    """What keeps a pod from running; empty where nothing does."""
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state, last = container.get("state", {}), container.get("lastState", {}).get("terminated", {})
        waiting = state.get("waiting", {})
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            ended = f", it ended with {last['exitCode']} ({last.get('reason', '')})" if last else ""
            return f"{container['name']} {waiting['reason']}{ended}: {waiting.get('message', '')}".rstrip(": ")
        if state.get("terminated", {}).get("exitCode"):
            return f"{container['name']} ended with {state['terminated']['exitCode']}"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", "not scheduled"))
    return ""
