"""The whole pipeline with every step in a container of the trainer image (`make images` first)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from docker_engine import Docker
from PIL import Image

from deepperception.artifacts import check_checkpoint, read_manifest

from ..images.containers import built
from .docker_place import TINY
from .test_run import arguments

ANNOTATION = """<annotation><size><width>64</width><height>64</height><depth>3</depth></size>
<object><name>{entity}</name><bndbox><xmin>8</xmin><ymin>8</ymin><xmax>56</xmax><ymax>56</ymax></bndbox></object>
</annotation>"""

pytestmark = [pytest.mark.e2e, pytest.mark.docker]


def test_a_run_in_containers_ends_with_a_model_of_the_digest_that_is_registered(docker: Docker, tmp_path: Path) -> None:
    trainer = built(docker, "trainer")
    out = tmp_path / "run"
    settings = [part for setting in TINY for part in ("--set", setting)]
    done = subprocess.run(
        arguments("bestiary", out, "--infra", "docker", *settings),
        env=docker.environment | {"DEEPPERCEPTION_TRAINER_IMAGE": trainer.facts["image"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    promoted = json.loads((out / "summary.json").read_text(encoding="utf-8"))["promoted"]
    check_checkpoint(Path(promoted["path"]))
    assert read_manifest(Path(promoted["path"])).digest == promoted["digest"]
    user = 10001 if os.geteuid() == 0 else os.geteuid()
    assert {path.stat().st_uid for path in (out / "work").iterdir()} == {user}


def test_a_users_error_in_a_container_is_the_runs_error(docker: Docker, tmp_path: Path) -> None:
    trainer = built(docker, "trainer")
    for entity in ("raccoon", "kangaroo"):
        photos = tmp_path / "photos" / entity
        photos.mkdir(parents=True)
        Image.new("RGB", (64, 64), "white").save(photos / "1.jpg")
        (photos / "1.xml").write_text(ANNOTATION.format(entity=entity))
    (photos / "2.jpg").write_text("no picture")
    done = subprocess.run(
        arguments("photos", tmp_path / "run", "--infra", "docker", "--source", str(tmp_path / "photos")),
        env=docker.environment | {"DEEPPERCEPTION_TRAINER_IMAGE": trainer.facts["image"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "synthesis: started" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "2.jpg" in last


def test_an_image_that_is_not_there_is_said_before_anything_starts(docker: Docker, tmp_path: Path) -> None:
    done = subprocess.run(
        arguments("bestiary", tmp_path / "run", "--infra", "docker"),
        env=docker.environment | {"DEEPPERCEPTION_TRAINER_IMAGE": "deepperception/trainer:nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the engine has no image deepperception/trainer:nowhere; ")
