"""The packages are ordinary ones: KFP's own command line takes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepperception.infra import Infra
from deepperception.platform.submit import prepare
from deepperception.recipe import Recipe
from deepperception.search.trials import with_seeds


@pytest.fixture
def kfp_command(kfp_api: Any, tmp_path: Path) -> Any:
    """Runs `kfp ...` against the stand-in."""
    kfp_api.many_users = False
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", kfp_api.url]
    environment = {**os.environ, "HOME": str(tmp_path)}

    def run(*arguments: str) -> None:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr

    return run


def test_kfp_pipeline_create_takes_a_package(
    kfp_api: Any, kfp_command: Any, recipe: Recipe, cluster: Infra, tmp_path: Path
) -> None:
    package = tmp_path / "package.yaml"
    package.write_text(prepare(recipe, cluster)[0])
    kfp_command("pipeline", "create", "--pipeline-name", "whole", str(package))
    assert [each["name"] for each in kfp_api.pipelines.values()] == ["whole"]
    assert list(kfp_api.packages.values()) == [package.read_text()]


def test_kfp_pipeline_create_takes_a_search(
    kfp_api: Any, kfp_command: Any, recipe: Recipe, cluster: Infra, tmp_path: Path
) -> None:
    searched = with_seeds(recipe, [0, 1], where="here")
    text, request = prepare(searched, cluster)
    package = tmp_path / "package.yaml"
    package.write_text(text)
    kfp_command("pipeline", "create", "--pipeline-name", "search", str(package))
    assert list(kfp_api.packages.values()) == [text]
    assert request.pipeline == "deepperception-search"
    assert request.run.startswith("tests-0-")


def test_kfp_run_create_takes_a_package_with_its_arguments(
    kfp_api: Any, kfp_command: Any, recipe: Recipe, cluster: Infra, tmp_path: Path
) -> None:
    text, request = prepare(recipe, cluster)
    package = tmp_path / "package.yaml"
    package.write_text(text)
    # The command reads every value as JSON: a text that is JSON itself is quoted once more to stay one.
    given = [f"{name}={json.dumps(value)}" for name, value in request.arguments.items()]
    kfp_command(
        "run", "create", "--experiment-name", "ours", "--run-name", "one", "--package-file", str(package), *given
    )
    (run,) = kfp_api.runs.values()
    assert run["display_name"] == "one"
    assert run["runtime_config"]["parameters"] == request.arguments
    assert "kubernetes" in run["pipeline_spec"]["platform_spec"]["platforms"]
