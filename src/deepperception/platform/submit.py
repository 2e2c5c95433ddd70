"""Hands the pipeline to Kubeflow Pipelines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra import Infra
from deepperception.recipe import Recipe


def package(recipe: Recipe, infra: Infra) -> str:
    """What `start` would send: the compiled pipeline, and as the last YAML document the run's name and arguments."""
    return compiled() + "---\n" + yaml.safe_dump({"run": _name(recipe), "arguments": _arguments(recipe, infra)})


def start(recipe: Recipe, infra: Infra, endpoint: str | None) -> str:
    """Start a run; returns its id.

    InputError where the infra file is of another place; InfrastructureError where the endpoint does not take the run.
    """
    if infra.runner != "kubeflow":  # its places are this machine's folders, which a cluster does not have
        what = "give an infra file of the cluster with --infra, its API with --endpoint, or --dry-run to look only"
        raise InputError(f"runner: '{infra.runner}' is not for a cluster; {what}.")
    if not endpoint:
        raise InputError("no endpoint of Kubeflow Pipelines is known; give --endpoint URL, or --dry-run to look only.")
    from kfp import Client

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        path.write_text(compiled(), encoding="utf-8")
        try:
            client = Client(host=endpoint)
            started = client.create_run_from_pipeline_package(
                str(path), arguments=_arguments(recipe, infra), run_name=_name(recipe), experiment_name=infra.experiment
            )
        except Exception as error:  # kfp lets through whatever its HTTP client raises
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise InfrastructureError(f"{endpoint}: the pipeline could not be started ({why}).") from error
    return str(started.run_id)


def compiled() -> str:
    """The pipeline package, as KFP's compiler writes it."""
    from kfp import compiler

    from deepperception.pipelines.deepperception import flow

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(flow, str(path))
        return path.read_text(encoding="utf-8")


def _name(recipe: Recipe) -> str:
    return f"{recipe.name}-{recipe.seed}"


def _arguments(recipe: Recipe, infra: Infra) -> dict[str, Any]:
    return {"recipe": recipe.to_json(), "infra": infra.to_json(), "seed": recipe.seed}
