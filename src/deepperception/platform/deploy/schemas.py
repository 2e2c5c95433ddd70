"""Strict schema validation: every field must be one that Kubernetes, or the resource's owner, knows."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepperception.errors import InputError
from deepperception.platform.deploy.objects import Object, title

KUBERNETES = ("1.31", "1.32", "1.33", "1.34")
_BUILT_IN = (".k8s.io", "apps", "batch", "autoscaling", "policy")
"""Endings of the API groups that Kubernetes itself serves; its core group has no name."""


def is_built_in(thing: Object) -> bool:
    """Whether Kubernetes itself knows the type, and not only the cluster that it is installed in."""
    group = thing["apiVersion"].rpartition("/")[0]
    return not group or group.endswith(_BUILT_IN)


def breaches(objects: list[Object], version: str) -> Iterator[str]:
    """One sentence for each built-in object that is not valid in the Kubernetes version.

    InputError where the validator is not installed.
    """
    try:
        import kubernetes_validate  # noqa: F401
    except ImportError:
        raise InputError(
            "kubernetes-validate is not installed; set the environment up with `make .venv/ready`."
        ) from None
    for thing in filter(is_built_in, objects):
        if fault := _fault(json.dumps(thing), version):
            yield f"{title(thing)}: {fault}"


@functools.lru_cache(maxsize=4096)  # each look reads all definitions of the version anew, for a tenth of a second
def _fault(content: str, version: str) -> str:
    """What is wrong with one object; empty where nothing is."""
    import kubernetes_validate

    thing = json.loads(content)
    try:
        kubernetes_validate.validate(thing, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"in Kubernetes {version} {'/'.join(map(str, error.path)) or 'it'} is not valid: {error.message}."
    except kubernetes_validate.SchemaNotFoundError:
        return f"Kubernetes {version} has no {thing['kind']} in {thing['apiVersion']}."
    return ""


def custom_breaches(objects: list[Object], folder: Path) -> Iterator[str]:
    """Likewise for resources of KServe and Kubeflow Trainer, by the JSON schemas in a folder.

    A file is named `<kind>-<group>-<version>.json`; a resource without a file is told.
    """
    import jsonschema

    for thing in objects:
        if is_built_in(thing):
            continue
        path = folder / f"{thing['kind'].lower()}-{thing['apiVersion'].replace('/', '-')}.json"
        if not path.is_file():
            yield f"{title(thing)}: there is no schema {path.name}."
            continue
        for error in jsonschema.Draft202012Validator(_schema(path)).iter_errors(thing):
            yield f"{title(thing)}: {'/'.join(map(str, error.path)) or 'it'} is not valid: {error.message}."


@functools.cache
def _schema(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
