"""What must be in the cluster already: manifests/prerequisites.yaml, and how the cluster compares with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from deepperception import settings
from deepperception.platform.deploy.kubectl import Kubectl
from deepperception.platform.deploy.objects import Object
from deepperception.settings import Settings

FILE = "prerequisites.yaml"


class Place(Settings):
    """A Deployment."""

    namespace: str
    deployment: str


class Component(Settings):
    """Something that others install."""

    name: str
    version: str = Field(description="The one that the manifests were written for; an older one is refused.")
    image_of: Place = Field(description="Its first image's tag tells the installed version.")
    crd: str | None = Field(default=None, description="A resource type that must be served.")
    kinds: list[str] = Field(default_factory=list, description="Needed only where such objects are; empty: always.")
    why: str = Field(description="What it is for.")


class Versions(Settings):
    """The Kubernetes versions that the manifests are tested against."""

    oldest: str
    newest: str


class Prerequisites(Settings):
    """The whole file."""

    kubernetes: Versions
    components: list[Component]


def load(path: Path) -> Prerequisites:
    """Read the file; InputError names a wrong key."""
    return settings.load(path, Prerequisites)


def faults(wanted: Prerequisites, kubectl: Kubectl, objects: list[Object]) -> Iterator[str]:
    """One sentence for each thing that is missing or too old in the cluster."""
    server = json.loads(kubectl.call("version", "--output=json")).get("serverVersion", {})
    running = f"{server.get('major', '0')}.{re.sub(r'[^0-9]', '', server.get('minor', '0'))}"
    if number(running) < number(wanted.kubernetes.oldest):
        yield f"the cluster runs Kubernetes {running}; {wanted.kubernetes.oldest} is the oldest that is supported."
    kinds = {each["kind"] for each in objects}
    for each in wanted.components:
        if each.kinds and not kinds & set(each.kinds):
            continue
        if each.crd and kubectl.get("customresourcedefinitions", each.crd) is None:
            yield f"{each.name} is not installed (no {each.crd}); install version {each.version}: it {each.why}."
            continue
        where = each.image_of
        found = kubectl.get("deployments", where.deployment, f"--namespace={where.namespace}")
        if found is None:
            yield (
                f"{each.name} is not installed (no Deployment {where.deployment} in {where.namespace}); "
                f"install version {each.version}: it {each.why}."
            )
            continue
        image = found["spec"]["template"]["spec"]["containers"][0]["image"]
        installed = re.search(r":v?(\d+(?:\.\d+)+)", image)
        if installed and number(installed[1]) < number(each.version):
            yield f"{each.name} is of version {installed[1]}; upgrade it to {each.version} or newer."


def number(version: str) -> tuple[int, ...]:
    """For comparison: v1.17.0 -> (1, 17, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
