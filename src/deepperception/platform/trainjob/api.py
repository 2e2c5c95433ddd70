"""The cluster behind the launcher: Kubernetes' own client, bounded in time, every failure in one sentence."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from typing import Any

from deepperception.errors import InputError
from deepperception.platform.trainjob.cluster import Away, Job, Node
from deepperception.platform.trainjob.render import GROUP, NODE, PLURAL, VERSION, TrainJob

_TIMEOUT_S = (5.0, 30.0)
"""To connect, to answer."""
_QUIET_LOG_S = 3600.0
_PASSING = (408, 429, 500, 502, 503, 504)
_INDEX = "batch.kubernetes.io/job-completion-index"
_JOBSET = "jobset.sigs.k8s.io/jobset-name"


class KubernetesApi:
    """`Cluster`, in one namespace."""

    def __init__(self, client: Any, namespace: str) -> None:
        """`client` is a kubernetes.client.ApiClient."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self._namespace = namespace
        # The launcher waits and asks again itself, and says that it does.
        client.rest_client.pool_manager.connection_pool_kw["retries"] = False
        self._core, self._custom = CoreV1Api(client), CustomObjectsApi(client)
        self._where = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}

    @classmethod
    def of_this_pod(cls, namespace: str) -> KubernetesApi:
        """As the service account of the pod that this is; InputError outside of a cluster."""
        from kubernetes import client, config

        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException as error:
            raise InputError(
                f"TrainJobs are made from within a cluster, and this is no pod of one ({error})."
            ) from None
        return cls(client.ApiClient(settings), namespace)

    def find(self, name: str) -> tuple[Job | None, str]:
        with self._told(f"asked for the TrainJob {name}"):
            found = self._custom.list_namespaced_custom_object(**self._only(name), _request_timeout=_TIMEOUT_S)
        items = found["items"]
        return (Job.of(items[0]) if items else None), found["metadata"].get("resourceVersion", "")

    def changes(self, name: str, version: str, within_s: float) -> Iterator[Job | None]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        # A watch that is cut off, late or out of date just ends: its reader lists again, which tells what is wrong.
        with contextlib.suppress(HTTPError, ApiException, OSError):
            stream = self._custom.list_namespaced_custom_object(
                **self._only(name),
                watch=True,
                resource_version=version,
                timeout_seconds=math.ceil(within_s),
                _preload_content=False,
                _request_timeout=(_TIMEOUT_S[0], within_s + _TIMEOUT_S[1]),
            )
            with contextlib.closing(stream):
                for line in _lines(stream):
                    event = json.loads(line)
                    if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
                        return
                    yield None if event["type"] == "DELETED" else Job.of(event["object"])

    def create(self, job: TrainJob) -> Job | None:
        from kubernetes.client import ApiException

        with self._told(f"given the TrainJob {job['metadata']['name']}"):
            try:
                made = self._custom.create_namespaced_custom_object(
                    **self._where, body=job, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status != 409:
                    raise
                return None
        return Job.of(made)

    def delete(self, name: str) -> None:
        from kubernetes.client import ApiException, V1DeleteOptions

        with self._told(f"asked to delete the TrainJob {name}"):
            try:
                # In the foreground: as long as the job is there, so may be its pods.
                options = V1DeleteOptions(propagation_policy="Foreground")
                self._custom.delete_namespaced_custom_object(
                    **self._where, name=name, body=options, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status != 404:
                    raise

    def nodes(self, name: str) -> list[Node]:
        with self._told(f"asked for the pods of {name}"):
            found = self._core.list_namespaced_pod(
                self._namespace, label_selector=f"{_JOBSET}={name}", _request_timeout=_TIMEOUT_S
            )
        return sorted((_node(pod) for pod in found.items), key=lambda node: node.index)

    def log(self, pod: str, since_s: int | None) -> Iterator[str]:
        since = {"since_seconds": since_s} if since_s else {}
        with self._told(f"asked for the log of {pod}"):
            stream = self._core.read_namespaced_pod_log(
                pod,
                self._namespace,
                container=NODE,
                follow=True,
                timestamps=True,
                _preload_content=False,
                _request_timeout=(_TIMEOUT_S[0], _QUIET_LOG_S),
                **since,
            )
            with contextlib.closing(stream):
                yield from _lines(stream)

    def last_lines(self, pod: str, count: int) -> list[str]:
        with self._told(f"asked for the log of {pod}"):
            stream = self._core.read_namespaced_pod_log(
                pod,
                self._namespace,
                container=NODE,
                tail_lines=count,
                _preload_content=False,
                _request_timeout=_TIMEOUT_S,
            )
            with contextlib.closing(stream):
                return list(_lines(stream))

    def warnings(self, name: str) -> list[str]:
        with self._told(f"asked for the events of {name}"):
            found = self._core.list_namespaced_event(
                self._namespace, field_selector="type=Warning", _request_timeout=_TIMEOUT_S
            )
        own = [each for each in found.items if _is_of(each.involved_object.name or "", name)]
        own.sort(key=lambda each: str(each.last_timestamp or each.event_time or each.metadata.creation_timestamp))
        return [f"{each.reason}: {' '.join((each.message or '').split())}" for each in own]

    def _only(self, name: str) -> dict[str, str]:
        return {**self._where, "field_selector": f"metadata.name={name}"}

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn what the client raises into one sentence, by who can mend it."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            why = _reason(error)
            if error.status in _PASSING or error.status == 401:  # a token is renewed on the way
                raise Away(f"Kubernetes' API, {what}, answers {error.status}: {why}") from None
            if error.status == 404 and "TrainJob" in what:
                way_out = "install Kubeflow Trainer 2.2 (manifests/prerequisites.yaml names all that must be there)"
            elif error.status == 403:
                way_out = "see that the service account may (manifests/components/gpu), and what the message names"
            else:
                way_out = "mend what it names in the infra file"
            raise InputError(f"Kubernetes' API, {what}, refuses ({error.status}: {why}); {way_out}.") from None
        except (HTTPError, OSError) as error:
            why = " ".join(str(getattr(error, "reason", None) or error).split())[:200]
            raise Away(f"Kubernetes' API, {what}, does not answer ({why}).") from None


def _node(pod: Any) -> Node:
    status = pod.status
    index = (pod.metadata.annotations or {}).get(_INDEX) or (pod.metadata.labels or {}).get(_INDEX) or "0"
    conditions = {each.type: each for each in status.conditions or []}
    container = next((each for each in status.container_statuses or [] if each.name == NODE), None)
    state = container.state if container else None
    ended, waiting = (state.terminated, state.waiting) if state else (None, None)
    scheduled = conditions.get("PodScheduled")
    disruption = conditions.get("DisruptionTarget")
    return Node(
        pod=pod.metadata.name,
        index=int(index),
        phase=status.phase or "",
        exit_code=ended.exit_code if ended else None,
        reason=next((each.reason for each in (ended, waiting, status) if each is not None and each.reason), ""),
        disrupted=(disruption is not None and disruption.status == "True") or status.reason == "Evicted",
        ended_at=str(ended.finished_at or "") if ended else "",
        waiting=scheduled.message or "" if scheduled is not None and scheduled.status == "False" else "",
    )


def _is_of(object_name: str, job: str) -> bool:
    """JobSet, Jobs and pods of a TrainJob have its name as the beginning of theirs."""
    return object_name == job or object_name.startswith(f"{job}-{NODE}-")


def _lines(stream: Any) -> Iterator[str]:
    """Whole lines of an answer that comes in pieces."""
    rest = b""
    for piece in stream.stream(amt=None, decode_content=False):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line:
                yield line.decode("utf-8", errors="replace")
    if rest:
        yield rest.decode("utf-8", errors="replace")


def _reason(error: Any) -> str:
    try:
        told = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        told = error.body or error.reason or "no reason given"
    return " ".join(str(told).split())[:500]
