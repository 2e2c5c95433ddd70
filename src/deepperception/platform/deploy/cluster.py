"""What a deploy asks of the cluster and changes in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from deepperception.errors import InfrastructureError
from deepperception.platform.deploy.kubectl import FIELD_MANAGER, Kubectl
from deepperception.platform.deploy.objects import Object, key, of_kind, title

_OURS = f"app.kubernetes.io/managed-by={FIELD_MANAGER}"
_REPLACED = ("Job", "ConfigMap")
"""Kinds whose objects get a new name with a new content, so that old ones stay behind."""


@dataclass(frozen=True)
class Change:
    """What applying would do."""

    new: list[Object]
    diff: str
    """Of the objects that are there; empty where nothing changes."""
    outdated: list[Object]
    failed: list[Object]
    """Jobs that gave up in an earlier deploy: they run anew."""

    @property
    def is_none(self) -> bool:
        return not (self.new or self.diff or self.outdated or self.failed)


def is_reachable(kubectl: Kubectl) -> bool:
    """Whether a cluster answers."""
    done = kubectl.attempt("version", "--output=json")
    return done.returncode == 0 and "serverVersion" in json.loads(done.stdout or "{}")


def namespaces(kubectl: Kubectl) -> set[str]:
    """The names of those that exist."""
    return {each["metadata"]["name"] for each in (kubectl.get("namespaces") or {}).get("items", [])}


def compare(kubectl: Kubectl, objects: list[Object], existing: set[str]) -> Change:
    """The cluster's own answer (a server-side dry run); objects of namespaces that do not exist are all new."""
    new = [each for each in objects if _home(each) not in existing]
    there = [each for each in objects if _home(each) in existing]
    diff = ""
    if there:
        arguments = ("diff", "--server-side", f"--field-manager={FIELD_MANAGER}", "--filename=-")
        done = kubectl.attempt(*arguments, stdin=_as_list(there))
        if done.returncode > 1:
            raise InfrastructureError(f"kubectl diff: {done.stderr.strip()}")
        diff = done.stdout if done.returncode else ""
    return Change(new, diff, outdated(kubectl, objects, existing), _failed(kubectl, of_kind(there, "Job")))


def outdated(kubectl: Kubectl, objects: list[Object], existing: set[str]) -> list[Object]:
    """Jobs and ConfigMaps that an earlier deploy made and this one replaces by others."""
    wanted = {(each["kind"], key(each)) for each in objects}
    homes = {key(each)[0] for each in of_kind(objects, *_REPLACED)}
    return [each for each in replaced_kinds(kubectl, homes & existing) if (each["kind"], key(each)) not in wanted]


def _failed(kubectl: Kubectl, jobs: list[Object]) -> list[Object]:
    found = [kubectl.get("job", key(each)[1], f"--namespace={key(each)[0]}") for each in jobs]
    return [
        {**job, "kind": "Job"}
        for job in found
        if job
        and any(each["type"] == "Failed" and each["status"] == "True" for each in job["status"].get("conditions", []))
    ]


def replaced_kinds(kubectl: Kubectl, homes: set[str]) -> list[Object]:
    """All Jobs and ConfigMaps that deploys have made in the namespaces."""
    found: list[Object] = []
    for namespace in sorted(homes):
        for kind in _REPLACED:
            listed = kubectl.get(kind.lower(), f"--namespace={namespace}", f"--selector={_OURS}") or {}
            found += [{**each, "kind": kind} for each in listed.get("items", [])]
    return found


def apply(kubectl: Kubectl, objects: list[Object]) -> None:
    """Server-side, so that a field that somebody else set is a conflict that is told, not overwritten."""
    arguments = ("apply", "--server-side", f"--field-manager={FIELD_MANAGER}", "--filename=-")
    kubectl.call(*arguments, stdin=_as_list(objects))


def delete(kubectl: Kubectl, objects: Iterable[Object]) -> None:
    """Each, where it is there; waits until it is gone."""
    for each in objects:
        namespace, name = key(each)
        where = [f"--namespace={namespace}"] if namespace else []
        kubectl.call("delete", _resource(each), name, *where, "--ignore-not-found", "--request-timeout=300s")


def serves(kubectl: Kubectl, thing: Object) -> bool:
    """Whether the cluster knows the type of a custom resource."""
    return bool(kubectl.attempt("get", _resource(thing), "--all-namespaces", "--output=name").returncode == 0)


def as_yaml(objects: Iterable[Object]) -> str:
    """For people."""
    return yaml.safe_dump_all(list(objects), sort_keys=False)


def listed(objects: Iterable[Object]) -> list[str]:
    """For people, one a line."""
    return [title(each) for each in objects]


def _as_list(objects: list[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _home(thing: Object) -> str:
    """The namespace that must exist before the object can."""
    namespace, name = key(thing)
    return name if thing["kind"] == "Namespace" else namespace


def _resource(thing: Object) -> str:
    """Kind and group, as kubectl takes them: ingress.networking.k8s.io."""
    group, _, version = thing.get("apiVersion", "v1").rpartition("/")
    return f"{thing['kind']}.{version}.{group}" if group else str(thing["kind"])
