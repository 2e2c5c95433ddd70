"""What was built takes the place of what the manifests name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepperception.errors import InputError
from deepperception.platform.deploy.images import built, with_images
from deepperception.platform.deploy.objects import Object, pods

DIGEST = "sha256:" + "a" * 64


def listing(path: Path, **images: Any) -> Path:
    path.write_text(json.dumps(images))
    return path


@pytest.mark.parametrize(
    ("image", "digest", "reference"),
    [
        ("deepperception/server:1-cpu-ab", None, "deepperception/server:1-cpu-ab"),
        ("host:5000/deepperception/server:1-cpu-ab", DIGEST, f"host:5000/deepperception/server@{DIGEST}"),
        (
            "host/deepperception/server:1",
            f"host/deepperception/server@{DIGEST}",
            f"host/deepperception/server@{DIGEST}",
        ),
    ],
)
def test_a_digest_is_taken_where_one_is_known(tmp_path: Path, image: str, digest: str | None, reference: str) -> None:
    file = listing(tmp_path / "images.json", server={"image": image, "digest": digest})
    assert built(file) == {"server": reference}


def test_ours_are_replaced_and_the_others_left(world: list[Object]) -> None:
    made = {pod.owner.split("/")[0]: pod.spec["containers"][0] for pod in pods(world)}
    made["Deployment"]["image"] = "host/deepperception/server:0.1.0"
    changed = with_images(world, {"server": f"deepperception/server@{DIGEST}"})
    now = {pod.owner.split("/")[0]: pod.spec["containers"][0]["image"] for pod in pods(changed)}
    assert now == {
        "Deployment": f"deepperception/server@{DIGEST}",
        "StatefulSet": "registry/name:1.0",
        "Job": "registry/name:1.0",
    }


def test_one_that_was_not_built_is_told(world: list[Object]) -> None:
    next(pods(world)).spec["containers"][0]["image"] = "deepperception/tracking:0.1.0"
    with pytest.raises(InputError, match="the image 'tracking' was not built; run `make images`"):
        with_images(world, {})


def test_a_file_that_is_no_listing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this is no list of built images"):
        built(listing(tmp_path / "images.json", server="deepperception/server"))
    with pytest.raises(InputError, match="make it with `make images`"):
        built(tmp_path / "missing.json")
