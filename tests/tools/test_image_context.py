"""A tag stands for one content: the same inputs give the same one, any other input another."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import image_context
import pytest
from docker_engine import Unavailable
from image_context import content_tag, cpu_wheels, gather

TOLD = {"VERSION": "1.2.3", "FORM": "cpu", "BASE_ID": "sha256:aa", "REVISION": "c0ffee", "SOURCE": ""}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """As small as a context can be, with all kinds of things in it."""
    folder = tmp_path / "context"
    (folder / "source" / "package").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "requirements.lock").write_text("numpy==2.4.6\n")
    (folder / "source" / "package" / "code.py").write_text("x = 1\n")
    (folder / "source" / "package" / "recipes").symlink_to("../../recipes")
    return folder


def test_the_same_content_has_the_same_tag_wherever_and_whenever(context: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(context, elsewhere, symlinks=True)
    for file in elsewhere.rglob("*.py"):
        file.touch()
    tag = content_tag(context, TOLD)
    assert content_tag(elsewhere, dict(reversed(TOLD.items()))) == tag
    assert re.fullmatch(r"1\.2\.3-cpu-[0-9a-f]{12}", tag)


def _edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda context: (context / name).write_text(text)


def _relink(context: Path) -> None:
    link = context / "source" / "package" / "recipes"
    link.unlink()
    link.symlink_to("../../other")


@pytest.mark.parametrize(
    "change, why",
    [
        (_edit("Dockerfile", "FROM scratch\nUSER 1\n"), "the Dockerfile is other"),
        (_edit("requirements.lock", "numpy==2.4.7\n"), "a package is other"),
        (_edit("source/package/code.py", "x = 2\n"), "a line of code is other"),
        (_edit("source/package/more.py", ""), "an empty file is new"),
        (lambda context: (context / "source/package/code.py").unlink(), "a file is gone"),
        (lambda context: (context / "Dockerfile").rename(context / "Dockerfile2"), "a file is called otherwise"),
        (lambda context: (context / "Dockerfile").chmod(0o755), "a file can be executed"),
        (_relink, "a link leads elsewhere"),
    ],
)
def test_another_file_is_another_tag(context: Path, change: Callable[[Path], object], why: str) -> None:
    before = content_tag(context, TOLD)
    change(context)
    assert content_tag(context, TOLD) != before, why


@pytest.mark.parametrize("key", sorted(TOLD))
def test_another_fact_is_another_tag(context: Path, key: str) -> None:
    assert content_tag(context, {**TOLD, key: "other"}) != content_tag(context, TOLD)


def test_a_context_holds_the_project_and_its_lock(tmp_path: Path) -> None:
    gather("server", "cpu", [], tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert {
        "Dockerfile",
        "install.sh",
        "shared.lock",
        "own.lock",
        "wheels",
        "source/src/deepperception/cli.py",
    } <= names
    assert (tmp_path / "source/src/deepperception/recipes").is_symlink()
    assert not [name for name in names if name.endswith(".pyc") or "tests" in name]
    lock = (image_context.ROOT / "images/server/requirements.lock").read_text()
    parts = [(tmp_path / name).read_text() for name in ("shared.lock", "own.lock")]
    assert {line for part in parts for line in _packages(part)} == set(_packages(lock))


def _packages(lock: str) -> list[str]:
    return [line for line in lock.splitlines() if "==" in line and not line.startswith("#")]


def test_the_tracking_image_holds_nothing_of_the_project(tmp_path: Path) -> None:
    gather("tracking", "cpu", [], tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"Dockerfile", "install.sh", "shared.lock", "own.lock", "wheels"}


def test_the_wheel_of_the_cpu_build_is_found_or_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"torch==.*\+cpu, which package indexes do not have.*WHEELS=DIR"):
        cpu_wheels("trainer", [tmp_path])
    lock = (image_context.ROOT / "images/trainer/requirements.lock").read_text()
    version = next(line.partition("==")[2] for line in lock.splitlines() if line.startswith("torch=="))
    wheel = tmp_path / f"torch-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
    wheel.touch()
    (tmp_path / f"torch-{version}-cp312-cp312-manylinux_2_28_x86_64.whl").touch()
    assert cpu_wheels("trainer", [tmp_path / "absent", tmp_path]) == (wheel,)
    assert cpu_wheels("tracking", []) == ()
