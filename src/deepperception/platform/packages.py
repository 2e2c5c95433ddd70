"""The pipelines as packages: what the stock `kfp pipeline create` takes, named by what they hold."""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from deepperception.infra import Infra
from deepperception.recipe import Recipe

PIPELINES = {"deepperception": "flow", "search": "search", "benchmark": "benchmark", "synthesis": "synthesis_only"}
"""File in pipelines/ -> the pipeline's function in it."""


def whole_flow(recipe: Recipe) -> str:
    """The name of the pipeline that takes the recipe from its photos to a served model."""
    return "search" if recipe.search else "deepperception"


def pipeline(name: str) -> Any:
    """The pipeline of that file, as it is wired."""
    return getattr(importlib.import_module(f"deepperception.pipelines.{name}"), PIPELINES[name])


def compiled(name: str, infra: Infra | None = None) -> str:
    """The package, as KFP's compiler writes it: the pipeline, and a second YAML document for what is Kubernetes'.

    With `infra`, every task has its place; InputError, with all faults, where the file names no such.
    """
    return _compiled(name, None if infra is None else infra.to_json())


@lru_cache(maxsize=8)
def _compiled(name: str, infra: str | None) -> str:
    # Seconds of work that follow from the arguments alone: `submit` looks at a package that `check` has made already.
    from kfp import compiler

    from deepperception.platform.placement import placed

    flow = pipeline(name) if infra is None else placed(pipeline(name), Infra.from_json(infra))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(flow, str(path))
        return path.read_text(encoding="utf-8")


def version_name(package: str) -> str:
    """What the package is uploaded as, and found again by: the same content has the same name."""
    return hashlib.sha256(package.encode()).hexdigest()[:12]
