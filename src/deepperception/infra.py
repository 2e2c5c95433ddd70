"""An infra file: where a recipe runs and where its results go. Says nothing about what is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deepperception import presets
from deepperception.artifacts.s3_settings import S3Settings
from deepperception.errors import InputError
from deepperception.faults import raise_together
from deepperception.infra_pools import Images, Kubeflow, Pool, StagePlace
from deepperception.infra_serving import Serving
from deepperception.settings import Settings, faults_in, parse, read_yaml

_OUT = "{out}"


class Docker(Settings):
    """How containers on this machine are run, where the runner is docker."""

    network: str = Field(default="none", description="The engine's network that steps join; none, or a name.")
    memory: str | None = Field(default=None, description="Of one step, as 8g; null: as much as there is.")
    environment: dict[str, str] = Field(
        default_factory=dict, description="Of every step; keys and passwords belong into the command's own environment."
    )


class Infra(Settings):
    """One place to run at."""

    runner: Literal["local", "docker", "kubeflow"] = Field(default="local", description="What executes the pipeline.")
    work_dir: Path = Field(description="Where stages write; finished ones are reused from here.")
    store: str = Field(description="Keeps artifacts by digest: a folder, file:///PATH or s3://BUCKET/PREFIX.")
    s3: S3Settings | None = Field(
        default=None, description="The server behind an s3:// store; without it, the environment's AWS_ENDPOINT_URL."
    )
    tracking_uri: str = Field(description="MLflow's: sqlite:///PATH needs no server.")
    docker: Docker = Field(default=Docker(), description="For the runner docker.")
    experiment: str = Field(default="deepperception", min_length=1, description="MLflow's experiment.")
    images: Images | None = Field(default=None, description="Of a cluster's pods, and of this machine's containers.")
    kubeflow: Kubeflow | None = Field(default=None, description="The cluster's pipelines.")
    serving: Serving | None = Field(default=None, description="Where releases go; null: this machine alone.")
    pools: dict[str, Pool] = Field(default_factory=dict, description="Kinds of nodes, by name.")
    stages: dict[str, StagePlace] = Field(default_factory=dict, description="Which stage runs where.")

    def to_json(self) -> str:
        """One line, for a pipeline parameter."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Infra:
        """Read what `to_json` wrote."""
        return parse(json.loads(text), cls, where="the parameter 'infra'")


def load_infra(path_or_name: str | Path, out: Path | None = None) -> Infra:
    """Read an infra file, or the ready-made one of that name; `{out}` in its values becomes the absolute `out`.

    InputError names the file, the key and the nearest valid key, of all faults at once.
    """
    path = presets.find("infra", path_or_name)
    content = {key: _filled(value, out, f"{path}: {key}") for key, value in read_yaml(path).items()}
    raise_together(faults_in(content, Infra, where=str(path)))
    return parse(content, Infra, where=str(path))


def _filled(value: Any, out: Path | None, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, out, f"{where}.{key}") for key, inner in value.items()}
    if not isinstance(value, str) or _OUT not in value:
        return value
    if out is None:
        raise InputError(f"{where}: the place depends on the run's folder; give it with --out DIR.")
    return value.replace(_OUT, str(out.absolute()))
