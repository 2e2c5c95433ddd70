"""An infra file: where a recipe runs and where its results go. Says nothing about what is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deepperception import presets
from deepperception.errors import InputError
from deepperception.settings import Settings, parse, read_yaml

_OUT = "{out}"


class Infra(Settings):
    """One place to run at."""

    runner: Literal["local", "docker", "kubeflow"] = Field(default="local", description="What executes the pipeline.")
    work_dir: Path = Field(description="Where stages write; finished ones are reused from here.")
    store: str = Field(description="Keeps artifacts by digest: a folder or file:///PATH.")
    tracking_uri: str = Field(description="MLflow's: sqlite:///PATH needs no server.")
    experiment: str = Field(default="deepperception", min_length=1, description="MLflow's experiment.")

    def to_json(self) -> str:
        """One line, for a pipeline parameter."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Infra:
        """Read what `to_json` wrote."""
        return parse(json.loads(text), cls, where="the parameter 'infra'")


def load_infra(path_or_name: str | Path, out: Path | None = None) -> Infra:
    """Read an infra file, or the ready-made one of that name; `{out}` in its values becomes the absolute `out`.

    InputError names the file, the key and the nearest valid key.
    """
    path = presets.find("infra", path_or_name)
    content = read_yaml(path)
    return parse({key: _filled(value, out, f"{path}: {key}") for key, value in content.items()}, Infra, where=str(path))


def _filled(value: Any, out: Path | None, where: str) -> Any:
    if not isinstance(value, str) or _OUT not in value:
        return value
    if out is None:
        raise InputError(f"{where}: the place depends on the run's folder; give it with --out DIR.")
    return value.replace(_OUT, str(out.absolute()))
