"""The order in which objects go to the cluster: each wave stands before the next one needs it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from deepperception.platform.deploy.objects import Key, Object, key, of_kind, pods
from deepperception.platform.deploy.references import secrets_of

_FOUNDATIONS = (
    *("ServiceAccount", "Role", "RoleBinding", "ResourceQuota", "LimitRange", "NetworkPolicy"),
    *("ConfigMap", "PersistentVolumeClaim", "PodDisruptionBudget", "Service"),
)
_ORDER: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("namespaces", ("Namespace",)),
    ("foundations", _FOUNDATIONS),
    ("store and database", ("StatefulSet",)),
    ("set-up and migrations", ("Job",)),
    ("servers", ("Deployment",)),
)
_LAST = "what runs on them"


@dataclass(frozen=True)
class Wave:
    """Objects that go together."""

    name: str
    objects: list[Object]


def in_waves(objects: list[Object]) -> list[Wave]:
    """All objects, in the order of their kinds; kinds without a place of their own come last."""
    placed = [kind for _, kinds in _ORDER for kind in kinds]
    waves = [Wave(name, of_kind(objects, *kinds)) for name, kinds in _ORDER]
    waves.append(Wave(_LAST, [each for each in objects if each["kind"] not in placed]))
    return [wave for wave in waves if wave.objects]


def with_named_jobs(objects: list[Object], secrets: Mapping[Key, Mapping[str, str]]) -> list[Object]:
    """Jobs cannot be changed once they are made: each gets a name by its content, so that a changed one runs anew.

    The content of the Secrets that it reads counts, so that a rotated password reaches MinIO and MLflow.
    """
    named = []
    for thing in objects:
        if thing["kind"] == "Job":
            thing = copy.deepcopy(thing)
            read = {place[1]: dict(data) for place, data in secrets.items() if _reads(thing, place)}
            content = json.dumps([thing["spec"], read], sort_keys=True)
            thing["metadata"]["name"] += "-" + hashlib.sha256(content.encode()).hexdigest()[:10]
        named.append(thing)
    return named


def _reads(job: Object, secret: Key) -> bool:
    namespace, name = secret
    return key(job)[0] == namespace and any(name in secrets_of(pod) for pod in pods([job]))
