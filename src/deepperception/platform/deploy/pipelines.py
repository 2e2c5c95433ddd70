"""Registers the compiled pipelines in Kubeflow Pipelines: a version for each content, none twice."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepperception.errors import InfrastructureError

_VERSIONS_AT_ONCE = 100


def packages() -> Mapping[str, str]:
    """Name -> compiled package of every pipeline that there is."""
    from deepperception.platform.submit import compiled

    return {"deepperception": compiled()}


def register(endpoint: str | None, say: Callable[[str], None], client: Any = None) -> None:
    """Upload what KFP does not hold yet; without an endpoint it only says what to do.

    InfrastructureError where KFP does not take a package. `client` stands in for KFP's own.
    """
    if not endpoint:
        say("pipelines: not registered, for KFP's API has no address here; set KF_PIPELINES_ENDPOINT and deploy again.")
        return
    try:
        client = client or _connect(endpoint)
        for name, package in packages().items():
            say(_upload(client, name, package))
    except Exception as error:  # kfp lets through whatever its HTTP client raises
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise InfrastructureError(f"{endpoint}: the pipelines could not be registered ({why}).") from error


def version_of(package: str) -> str:
    """The version's name, by the content."""
    return hashlib.sha256(package.encode()).hexdigest()[:12]


def _connect(endpoint: str) -> Any:
    from kfp import Client

    return Client(host=endpoint)


def _upload(client: Any, name: str, package: str) -> str:
    version = version_of(package)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.yaml")
        path.write_text(package, encoding="utf-8")
        pipeline = client.get_pipeline_id(name)
        if pipeline is None:
            pipeline = client.upload_pipeline(str(path), pipeline_name=name).pipeline_id
        listed = client.list_pipeline_versions(pipeline, page_size=_VERSIONS_AT_ONCE, sort_by="created_at desc")
        if any(each.display_name == version for each in listed.pipeline_versions or []):
            return f"pipelines: {name} {version} is registered already"
        client.upload_pipeline_version(str(path), version, pipeline_id=pipeline)
    return f"pipelines: {name} {version} registered"
