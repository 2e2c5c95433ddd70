"""The objects of a release: what an InferenceService looks like for each version and share.

KServe's rules that shape them (Standard mode, 0.20 and 0.21):
- Every predictor has a Deployment of its own, NAME-<predictor's name>-predictor. Giving the service the predictor of
  its canary moves all requests there and restarts nothing; the Deployment that nothing names any more is removed.
- A canary at 0 % gets ceil(0 % of the replicas) pods, which is none: `minReplicas` must be said.
- A canary must not set maxReplicas or any other field of autoscaling; and its model must name its container, which the
  service's own predictor must not.
- What is written on the InferenceService as an annotation or a label is handed down to the pods' template, and restarts
  every one of them. So the state of a release is kept elsewhere (journal.py).
"""

from __future__ import annotations

import copy
import math

from deepperception.promotion.cluster import Object, Target

SERVICE, LEASE = "InferenceService", "Lease"
_CONTAINER = "kserve-container"
_AUTOSCALING = ("maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")


def predictor(target: Target, uri: str, digest: str, image: str | None = None) -> Object:
    """What serves the artifact `uri`; its name follows from the digest, so a version always has the same one."""
    model: Object = {
        "modelFormat": {"name": "deepperception"},
        "runtime": target.runtime,
        "storageUri": f"{uri.rstrip('/')}/",  # with the slash, KServe keeps to the files of that entry
    }
    if image or target.image:
        model["image"] = image or target.image
    if target.resources:
        model["resources"] = target.resources
    wanted: Object = {
        "name": f"m{digest.removeprefix('sha256:')[:12]}",
        "serviceAccountName": target.service_account,
        "securityContext": {"fsGroup": 10001},
        "model": model,
    }
    if target.node_selector:
        wanted["nodeSelector"] = target.node_selector
    if target.tolerations:
        wanted["tolerations"] = target.tolerations
    return wanted


def service(target: Target, stable: Object) -> Object:
    """The InferenceService as it is first created."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": SERVICE,
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "labels": {
                "app.kubernetes.io/name": target.name,
                "app.kubernetes.io/part-of": "deepperception",
                "app.kubernetes.io/managed-by": "deepperception-release",
            },
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {"predictor": _at_full_size(stable, target.replicas)},
    }


def with_spec(content: Object, target: Target, stable: Object, canary: Object | None, percent: int) -> Object:
    """The same object serving `stable`, and `canary` beside it with its share of the requests."""
    wanted = copy.deepcopy(content)
    wanted["spec"]["predictor"] = _at_full_size(stable, target.replicas)
    wanted["spec"].pop("canary", None)
    if canary is not None:
        replicas = max(1, math.ceil(target.replicas * percent / 100))
        wanted["spec"]["canary"] = [{"trafficPercent": percent, "predictor": _as_canary(canary, replicas)}]
    return wanted


def shares(content: Object) -> dict[str, int]:
    """Percent of the requests by name of the predictor ("" where it has none), as the object wants it."""
    wanted = {str(entry["predictor"].get("name", "")): int(entry["trafficPercent"]) for entry in canaries(content)}
    stable = str(content["spec"]["predictor"].get("name", ""))
    return {stable: 100 - sum(wanted.values()), **wanted}


def canaries(content: Object) -> list[Object]:
    """The object's canaries."""
    return list(content["spec"].get("canary") or [])


def revision(target: Target, name: str) -> str:
    """The Deployment of a predictor."""
    return f"{target.name}-{name}-predictor" if name else f"{target.name}-predictor"


def is_ready(content: Object) -> bool:
    """Whether KServe has done what the object asks, and says that it serves."""
    status = content.get("status", {})
    generation = content["metadata"].get("generation", 0)
    if status.get("observedGeneration", generation) < generation:
        return False
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions", [])}
    return conditions.get("Ready") == "True"


def is_canary_ready(content: Object, name: str) -> bool:
    """Whether the canary of that name has a pod that serves."""
    told = {entry["name"]: entry for entry in content.get("status", {}).get("canaryStatuses", [])}
    return bool(told.get(name, {}).get("ready"))


def storage_uri(predictor: Object) -> str:
    """Where a predictor's weights are; empty for one of another form."""
    return str(predictor.get("model", {}).get("storageUri", "")).rstrip("/")


def _as_canary(wanted: Object, replicas: int) -> Object:
    model = {**wanted.get("model", {}), "name": _CONTAINER}
    kept = {key: value for key, value in wanted.items() if key not in _AUTOSCALING}
    return {**kept, "model": model, "minReplicas": replicas}


def _at_full_size(wanted: Object, replicas: int) -> Object:
    return {**wanted, "minReplicas": replicas, "maxReplicas": max(replicas, int(wanted.get("maxReplicas", 0)))}
