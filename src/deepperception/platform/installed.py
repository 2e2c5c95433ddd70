"""What others have installed in the cluster, against manifests/prerequisites.yaml: too old, or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from deepperception.errors import DeepPerceptionError, InputError
from deepperception.faults import Collector
from deepperception.infra import Infra
from deepperception.infra_pools import STAGES, layout_of
from deepperception.platform.deploy import prerequisites
from deepperception.platform.deploy.kubectl import Kubectl
from deepperception.platform.deploy.prerequisites import FILE, Prerequisites, number
from deepperception.platform.kubeflow import Pipelines

_PIPELINES = "Kubeflow Pipelines"
_NODES = {"kind": "TrainingRuntime"}  # what the file says is needed for several nodes


def wanted() -> Prerequisites:
    """The file that `make deploy` reads, as it came with this release."""
    return prerequisites.load(Path(prerequisites.__file__).with_name(FILE))


def check_pipelines(pipelines: Pipelines, found: Collector) -> str:
    """The version that the API tells of itself, in words; a fault where it is too old."""
    (needed,) = [each.version for each in wanted().components if each.name == _PIPELINES]
    version = pipelines.installed()
    if version is None:
        return "of a version that it does not tell"
    if number(version) < number(needed):
        found.add([f"{_PIPELINES} is of version {version}; upgrade it to {needed} or newer."])
    return f"version {version}"


def check_cluster_components(infra: Infra, found: Collector) -> Iterator[str]:
    """A fault for each component that is missing or too old; a line on what was asked, and on what was not."""
    names = ", ".join(each.name for each in wanted().components)
    if not _has_kubeconfig():
        yield f"not asked: the cluster itself (no kubeconfig here); what is installed ({names}) is not known"
        return
    kubectl = Kubectl()
    several = any(layout_of(infra, stage).processes > 1 for stage in STAGES)
    try:
        context = kubectl.local("config", "current-context").strip()
        faults = list(prerequisites.faults(wanted(), kubectl, [_NODES] if several else []))
    except DeepPerceptionError as error:  # no kubectl, no such cluster, no right to look: that is no fault of the run
        yield f"not asked: the cluster itself ({error}); what is installed ({names}) is not known"
        return
    found.add([f"{fault} (kubectl's context {context})" for fault in faults], InputError)
    asked = [each.name for each in wanted().components if not each.kinds or several]
    if not faults:
        yield f"kubectl's context {context} has {', '.join(asked)}, all of them new enough"


def _has_kubeconfig() -> bool:
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return any(path.is_file() for path in named or [Path.home() / ".kube" / "config"])
