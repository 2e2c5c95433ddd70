"""The wheel, and an installed package without the checkout around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("src", "components", "pipelines", "recipes", "infra", "pyproject.toml", "LICENSE", "README.md")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
            )
        elif source.exists():
            shutil.copy(source, checkout)
    (checkout / "README.md").touch()
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=checkout, check=True, capture_output=True)
    shutil.rmtree(checkout)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=installed.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_everything_travels_inside(installed: Path) -> None:
    package = installed / "deepperception"
    for folder, pattern in (("components", "*.py"), ("pipelines", "*.py"), ("recipes", "*.yaml"), ("infra", "*.yaml")):
        assert {file.name for file in (package / folder).glob(pattern)} == {
            file.name for file in (ROOT / folder).glob(pattern)
        }
    code = {str(file.relative_to(ROOT / "src")) for file in (ROOT / "src" / "deepperception").rglob("*.py")}
    assert code <= {str(file.relative_to(installed)) for file in package.rglob("*.py")}
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"deepperception"}


def test_data_files_travel_too(installed: Path) -> None:
    """A template, the world, the base checkpoint: whatever lies in the package and is no Python."""
    source, package = ROOT / "src" / "deepperception", installed / "deepperception"
    files = {
        file.relative_to(source) for file in source.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    }
    assert {str(file) for file in files if not (package / file).is_file()} == set()


def test_the_command_finds_its_recipes(installed: Path) -> None:
    code = "import deepperception; from deepperception.presets import find; print(find('recipes', 'bestiary'))"
    found = python(installed, "-c", code)
    assert found.stdout.strip() == str(installed / "deepperception" / "recipes" / "bestiary.yaml"), found.stderr


def test_kfp_compiles_the_installed_pipeline(installed: Path) -> None:
    source = installed / "deepperception" / "pipelines" / "deepperception.py"
    command = "from kfp.cli.__main__ import main; main()"
    done = python(installed, "-c", command, "dsl", "compile", "--py", str(source), "--output", "flow.yaml")
    assert done.returncode == 0, done.stderr
    assert (installed.parent / "flow.yaml").is_file()
