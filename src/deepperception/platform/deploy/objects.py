"""Kubernetes objects as kustomize renders them, and the pods that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepperception.errors import InputError
from deepperception.platform.deploy.kubectl import Kubectl

Object = dict[str, Any]
Labels = dict[str, str]
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class Pod:
    """A pod that some object makes."""

    owner: str
    namespace: str
    labels: Labels
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """The init containers, too."""
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]


def render(kubectl: Kubectl, overlay: Path) -> list[Object]:
    """What kustomize makes of the overlay; InputError where it cannot."""
    if not (overlay / "kustomization.yaml").is_file():
        there = ", ".join(sorted(path.parent.name for path in overlay.parent.glob("*/kustomization.yaml"))) or "none"
        raise InputError(f"{overlay}: there is no such overlay (there are: {there}); give OVERLAY=NAME or its folder.")
    text = kubectl.local("kustomize", str(overlay))
    return [each for each in yaml.safe_load_all(text) if each]


def title(thing: Object) -> str:
    """For people: kind/name, and the namespace where there is one."""
    meta = thing["metadata"]
    return f"{thing['kind']}/{meta['name']}" + (f" in {meta['namespace']}" if "namespace" in meta else "")


def key(thing: Object) -> Key:
    """Namespace and name."""
    return thing["metadata"].get("namespace", ""), thing["metadata"]["name"]


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Those of one of the kinds."""
    return [each for each in objects if each["kind"] in kinds]


def pods(objects: Iterable[Object]) -> Iterator[Pod]:
    """Every pod that the objects make: those of the serving and training runtimes, too."""
    for thing in objects:
        for template in _templates(thing):
            labels = template.get("metadata", {}).get("labels", {})
            yield Pod(title(thing), thing["metadata"].get("namespace", "default"), labels, template["spec"])


def _templates(thing: Object) -> list[Object]:
    spec = thing.get("spec", {})
    match thing["kind"]:
        case "Pod":
            return [thing]
        case "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job":
            return [spec["template"]]
        case "CronJob":
            return [spec["jobTemplate"]["spec"]["template"]]
        case "ServingRuntime" | "ClusterServingRuntime":  # its spec is a pod's, save for the labels
            return [{"metadata": {"labels": spec.get("labels", {})}, "spec": spec}]
        case "TrainingRuntime" | "ClusterTrainingRuntime":
            jobs = spec["template"]["spec"]["replicatedJobs"]
            return [job["template"]["spec"]["template"] for job in jobs]
    return []


def matches(selector: Object | None, labels: Labels) -> bool:
    """Whether a label selector takes the labels; an empty one takes all."""
    selector = selector or {}
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", []):
        value = labels.get(each["key"])
        holds = {
            "In": value in each.get("values", []),
            "NotIn": value not in each.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[each["operator"]]
        if not holds:
            return False
    return True
