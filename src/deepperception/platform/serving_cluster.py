"""The cluster that serves, through Kubernetes' own client: bounded in time, patient with a busy API, one sentence."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra_pools import amount
from deepperception.promotion.cluster import Conflict, Corners, Object, Pod
from deepperception.serving.client import TOKEN, ask_server, read_metrics

_TIMEOUT_S = (5.0, 30.0)  # to connect, to answer
_PATIENCE_S = 60.0
_PAUSE_S = 1.0
_AWAY = (429, 500, 502, 503, 504)
_PREDICT_TIMEOUT_S = 120.0
_GROUPS = {
    "InferenceService": ("serving.kserve.io", "v1beta1", "inferenceservices"),
    "Lease": ("coordination.k8s.io", "v1", "leases"),
}
_CONTAINER = "kserve-container"
_STARTING = ("ContainerCreating", "PodInitializing")


class KubernetesCluster:
    """Implements promotion's ServingCluster for one namespace."""

    def __init__(self, namespace: str, context: str | None = None) -> None:
        """InputError where neither a pod's account nor a kubeconfig leads to a cluster."""
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
                config.load_incluster_config(client_configuration=settings)
            else:
                # The client reads KUBECONFIG when it is imported; whoever sets it later would not be heard.
                path = os.environ.get("KUBECONFIG")
                config.load_kube_config(config_file=path, context=context, client_configuration=settings)
        except config.ConfigException as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"serving: no cluster to talk to ({reason}); set KUBECONFIG, or serving.context."
            ) from None
        settings.retries = False  # ours knows what may be repeated, and says that it waits
        self._api, self.namespace = client.ApiClient(settings), namespace
        self._objects, self._core = client.CustomObjectsApi(self._api), client.CoreV1Api(self._api)

    def read(self, kind: str, name: str) -> Object | None:
        """The object, or None."""
        group, version, plural = _GROUPS[kind]
        return _asked(
            f"{kind} {self.namespace}/{name}",
            "read",
            lambda: self._objects.get_namespaced_custom_object(
                group, version, self.namespace, plural, name, _request_timeout=_TIMEOUT_S
            ),
        )

    def create(self, kind: str, content: Object) -> Object:
        """Conflict where it is there."""
        group, version, plural = _GROUPS[kind]
        return _asked(
            f"{kind} {self.namespace}/{content['metadata']['name']}",
            "create",
            lambda: self._objects.create_namespaced_custom_object(
                group, version, self.namespace, plural, content, _request_timeout=_TIMEOUT_S
            ),
        )

    def replace(self, kind: str, content: Object) -> Object:
        """Conflict where it has changed since it was read. Repeated after a lost answer, it conflicts with itself:
        whoever reads it again sees that it is done."""
        group, version, plural = _GROUPS[kind]
        name = content["metadata"]["name"]
        assert content["metadata"].get("resourceVersion"), "only what was read may be replaced"
        return _asked(
            f"{kind} {self.namespace}/{name}",
            "update",
            lambda: self._objects.replace_namespaced_custom_object(
                group, version, self.namespace, plural, name, content, _request_timeout=_TIMEOUT_S
            ),
        )

    def pods(self, revision: str) -> list[Pod]:
        """By the label that KServe gives the pods of a Deployment."""
        found = _asked(
            f"pods in {self.namespace}",
            "list",
            lambda: self._core.list_namespaced_pod(
                self.namespace, label_selector=f"app=isvc.{revision}", _request_timeout=_TIMEOUT_S
            ),
        )
        return [_pod(item) for item in found.items if item.metadata.deletion_timestamp is None]

    def no_room(self, resources: Object) -> str | None:
        """Only what the quotas say: whether a node is free, the scheduler tells when the pod is there."""
        found = _asked(
            f"quotas in {self.namespace}",
            "list",
            lambda: self._core.list_namespaced_resource_quota(self.namespace, _request_timeout=_TIMEOUT_S),
        )
        for quota in found.items:
            hard, used = quota.status.hard or {}, quota.status.used or {}
            for resource, asked in (resources.get("requests") or {}).items():
                key = f"requests.{resource}"
                if key in hard and amount(used.get(key, "0")) + amount(asked) > amount(hard[key]):
                    return (
                        f"the quota '{quota.metadata.name}' of {self.namespace} has no room for {asked} more {resource}"
                        f" ({used.get(key, '0')} of {hard[key]} are used)"
                    )
        return None

    def ask(self, url: str, image: bytes, entity: str) -> Corners | None:
        """Over HTTP, like any client of the service."""
        token = os.environ.get(TOKEN)
        return ask_server(url, image, entity, timeout_s=_PREDICT_TIMEOUT_S, token=token).box_1000

    def metrics(self, url: str) -> str:
        """Over HTTP, as Prometheus asks."""
        return read_metrics(url)


def _pod(item: Any) -> Pod:
    conditions = {entry.type: entry for entry in item.status.conditions or []}
    statuses = [*(item.status.init_container_statuses or []), *(item.status.container_statuses or [])]
    waiting = [entry.state.waiting for entry in statuses if entry.state and entry.state.waiting]
    stuck = [entry for entry in waiting if entry.reason not in _STARTING]
    scheduled = conditions.get("PodScheduled")
    ports = [port for entry in item.spec.containers if entry.name == _CONTAINER for port in entry.ports or []]
    port = ports[0].container_port if ports else 8080
    return Pod(
        name=item.metadata.name,
        url=f"http://{item.status.pod_ip}:{port}" if item.status.pod_ip else "",
        ready="Ready" in conditions and conditions["Ready"].status == "True",
        restarts=sum(entry.restart_count for entry in statuses),
        trouble=f"{stuck[0].reason}: {stuck[0].message or 'no more is told'}" if stuck else "",
        unschedulable=scheduled.message or scheduled.reason if scheduled and scheduled.status == "False" else "",
    )


def _asked(what: str, verb: str, request: Callable[[], Any]) -> Any:
    """Make the request, again while the API is away: None for what is not there, Conflict for what has changed."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return request()
        except ApiException as error:
            if error.status == 404 and verb == "read":
                return None
            if error.status == 409:
                raise Conflict(what) from None
            if error.status not in _AWAY or time.monotonic() > deadline:
                raise _refused(what, verb, error) from None
        except (HTTPError, OSError) as error:
            if time.monotonic() > deadline:
                why = " ".join(str(getattr(error, "reason", error)).split())[:200]
                raise InfrastructureError(
                    f"{what}: the cluster's API does not answer ({why}); run again to go on."
                ) from None
        time.sleep(_PAUSE_S)


def _refused(what: str, verb: str, error: Any) -> InfrastructureError:
    try:
        reason = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        reason = str(error.reason or "no reason given")
    more = (
        f"; this account may not {verb} it, see the Role deepperception-release" if error.status in (401, 403) else ""
    )
    return InfrastructureError(f"{what}: the cluster answered {error.status} ({' '.join(reason.split())[:300]}){more}.")
