"""The overlays as kustomize renders them, once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from deepperception.platform.deploy.kubectl import Kubectl
from deepperception.platform.deploy.objects import Object, render

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ROOT / "manifests" / "overlays"


@pytest.fixture(scope="session")
def overlays() -> Mapping[str, list[Object]]:
    """Name -> objects, of every overlay that there is."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on the PATH: overlays cannot be rendered")
    found = sorted(path.parent for path in OVERLAYS.glob("*/kustomization.yaml"))
    return {path.name: render(Kubectl(), path) for path in found}
