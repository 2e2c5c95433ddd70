"""The images' lock files against what they are drawn from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import environment
import pytest
from image_locks import EXTRAS, lock_path
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = environment.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = [lock_path(image, form) for image, form in EXTRAS] + [lock_path("tracking", "cpu")]


def pins(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def overrides() -> list[Requirement]:
    lines = (ROOT / "images/gpu-overrides.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_line_pins_a_package(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[a-z0-9-]+==[^\s;]+", line) for line in lines)


@pytest.mark.parametrize(("image", "form"), sorted(EXTRAS))
def test_a_lock_holds_what_the_project_asks_for(image: str, form: str) -> None:
    locked = pins(lock_path(image, form))
    wanted = [*PROJECT["dependencies"]]
    for extra in EXTRAS[image, form]:
        wanted += PROJECT["optional-dependencies"][extra]
    overridden = {each.name: each for each in overrides()} if form == "gpu" else {}
    for requirement in map(Requirement, wanted):
        bound = overridden.get(requirement.name, requirement).specifier
        assert bound.contains(locked[requirement.name].removesuffix("+cpu")), requirement


@pytest.mark.parametrize("image", ["trainer", "server"])
def test_a_cpu_image_runs_what_the_tests_run(image: str) -> None:
    tested = pins(ROOT / "requirements.lock")
    locked = pins(lock_path(image, "cpu"))
    assert {name: version.removesuffix("+cpu") for name, version in locked.items()} == {
        name: tested.get(name) for name in locked
    }
    assert locked["torch"].endswith("+cpu")  # the index's build brings gigabytes of CUDA


def test_the_tracking_server_is_of_the_version_that_its_clients_are() -> None:
    locked = pins(lock_path("tracking", "cpu"))
    assert locked["mlflow"] == locked["mlflow-skinny"] == pins(ROOT / "requirements.lock")["mlflow-skinny"]
    assert {"boto3", "psycopg", "psycopg-binary", "flask-wtf"} <= set(locked)
    assert Version(locked["sqlalchemy"]) >= Version("2.1")  # from there on postgresql:// means psycopg


def test_the_tools_of_the_build_are_the_projects_own() -> None:
    script = (ROOT / "images/install.sh").read_text(encoding="utf-8")
    assert environment.UV_PIN in script
    assert f"setuptools=={pins(ROOT / 'requirements.lock')['setuptools']}" in script
