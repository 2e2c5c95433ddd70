"""What goes into a build, without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_context import gather
from image_locks import lock_path


def packages(path: Path) -> set[str]:
    return {line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")}


@pytest.mark.parametrize(
    ("name", "form"),
    [("trainer", "cpu"), ("trainer", "gpu"), ("server", "cpu"), ("server", "gpu"), ("tracking", "cpu")],
)
def test_an_image_has_every_package_of_its_lock_once(tmp_path: Path, name: str, form: str) -> None:
    gather(name, form, (), tmp_path)
    shared, own = packages(tmp_path / "shared.lock"), packages(tmp_path / "own.lock")
    assert shared | own == packages(lock_path(name, form))
    assert not shared & own


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_the_trainer_and_the_server_share_a_layer(tmp_path: Path, form: str) -> None:
    """Byte for byte, or a build makes it twice."""
    files = {}
    for name in ("trainer", "server"):
        (tmp_path / name).mkdir()
        gather(name, form, (), tmp_path / name)
        files[name] = [(tmp_path / name / file).read_bytes() for file in ("install.sh", "shared.lock")]
    assert files["trainer"] == files["server"]
    assert b"torch==" in files["server"][1]
