"""The whole pipeline in containers, with a real S3 server and MLflow on their network; whole, and through every fault.

Nothing of it reaches another network, both services ask for a password, and steps have neither rights nor root.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker_engine import CommandFailed, Docker
from minio.error import S3Error
from services import docker_network
from services.docker_network import S3
from services.rgw import Key

from deepperception.artifacts import read_manifest
from deepperception.bestiary import __file__ as BESTIARY

from ..images.containers import built
from .docker_place import Place, champion_of, complete_references, digest_in_s3, half_sent

pytestmark = [pytest.mark.e2e, pytest.mark.docker]

LARGE_FILE_BYTES = 160 << 20
"""Beside the weights of the base: dozens of parts, so that an outage finds the upload half-way."""
OUTAGE_S = 30.0


@pytest.fixture(scope="module")
def place(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    trainer, tracking = built(docker, "trainer"), built(docker, "tracking")
    try:
        image = docker_network.s3_image(docker, trainer.facts["base"])
    except CommandFailed as error:
        pytest.skip(f"the S3 server's image cannot be built here: {error}")
    folder = tmp_path_factory.mktemp("services")
    base = folder / "base"
    shutil.copytree(Path(BESTIARY).with_name("base"), base)
    (base / "history.txt").write_bytes(random.Random(0).randbytes(LARGE_FILE_BYTES))
    with (
        docker_network.network(docker) as network,
        docker_network.s3(network, image, "models", "mlflow") as s3,
        docker_network.mlflow(network, tracking.facts["image"], s3, folder) as mlflow,
    ):
        yield Place(docker, network, s3, mlflow, trainer, base)


@pytest.fixture(scope="module")
def undisturbed(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from beginning to end, and what its stages ran as."""
    out = tmp_path_factory.mktemp("whole") / "undisturbed"
    with place.started(out) as run:
        run.await_that(place.steps)
        told = json.loads(place.docker.call("inspect", *place.steps()[:1]))[0]
        run.ended(0)
    (out / "container.json").write_text(json.dumps(told))
    return out


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of its own, with room for everything until it is made smaller."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a volume that can be made smaller needs root")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_it_ends_with_a_champion_whose_bytes_in_s3_have_the_digest_that_mlflow_holds(
    place: Place, undisturbed: Path
) -> None:
    summary = json.loads((undisturbed / "summary.json").read_text(encoding="utf-8"))
    champion = champion_of(place)
    assert champion["digest"] == summary["promoted"]["digest"]
    assert champion["uri"].startswith("s3://models/undisturbed/")
    assert digest_in_s3(place, champion["uri"]) == champion["digest"]
    assert complete_references(place, "undisturbed"), "the store's other entries verify, too"
    pages = {each.object_name for each in place.s3.client("mlflow").list_objects("mlflow", recursive=True)}
    assert any(str(name).endswith("report.html") for name in pages), "MLflow keeps its own files in its own bucket"


def test_both_services_ask_who_it_is(place: Place) -> None:
    forged = Key(place.s3.keys["models"].access_key, "of somebody else")
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        next(iter(S3(place.s3.service, {"models": forged}).client("models").list_objects("models")))
    with pytest.raises(S3Error, match="AccessDenied"):
        next(iter(place.s3.client("mlflow").list_objects("models")))
    assert requests.get(f"{place.s3.endpoint}/models", timeout=30).status_code == 403
    runs = f"{place.mlflow.url}/api/2.0/mlflow/registered-models/search"
    assert requests.get(runs, timeout=30).status_code == 401
    assert requests.get(runs, timeout=30, auth=(place.mlflow.user, "a guess")).status_code == 401


def test_its_steps_have_no_rights_and_no_other_network(place: Place, undisturbed: Path) -> None:
    told = json.loads((undisturbed / "container.json").read_text(encoding="utf-8"))
    assert told["Config"]["User"] not in ("", "0", "0:0", "root")
    assert told["HostConfig"]["ReadonlyRootfs"] is True
    assert told["HostConfig"]["CapDrop"] == ["ALL"]
    assert told["HostConfig"]["Privileged"] is False
    assert list(told["NetworkSettings"]["Networks"]) == [place.network.name]
    assert json.loads(place.docker.call("network", "inspect", place.network.name))[0]["Internal"] is True


def test_through_outages_a_kill_and_a_full_volume_it_comes_to_the_same_digests(
    place: Place, undisturbed: Path, volume: Path
) -> None:
    wanted = digests(undisturbed)
    place.forget()
    out = volume / "disturbed"

    with place.started(out) as run:
        run.await_that(lambda: half_sent(place, "disturbed"))
        with place.s3.away():
            time.sleep(OUTAGE_S)  # no wait for readiness: this is the outage
        run.await_that(lambda: training(out))
        (first,) = training(out)
        with place.mlflow.away():
            run.await_that(lambda: f" {first}: step: 4/4" in run.said())
        run.await_that(lambda: training(out) - {first})
        place.docker.call("kill", *place.steps())
        said = run.ended(3)
    assert f"waiting for {place.s3.endpoint} (" in said and "is back after" in said, said
    assert "killed" in one_sentence(said), said
    assert set(complete_references(place, "disturbed")) <= set(wanted.values())

    found = os.statvfs(volume)
    resize(volume, (found.f_blocks - found.f_bfree) * found.f_frsize + (1 << 20))
    with place.started(out) as run:
        said = run.ended(1)
    assert "the disk is full" in one_sentence(said), said
    assert set(complete_references(place, "disturbed")) <= set(wanted.values())

    resize(volume, 2 << 30)
    with place.started(out) as run:
        said = run.ended(0)
    assert "base: reusing" in said
    assert digests(out) == wanted
    assert champion_of(place)["digest"] == read_promoted(undisturbed) == read_promoted(out)
    assert digest_in_s3(place, champion_of(place)["uri"]) == champion_of(place)["digest"]
    assert set(wanted.values()) <= set(complete_references(place, "disturbed"))


def training(out: Path) -> set[str]:
    """The model that is being trained now; KFP's order of stages is chance where none needs the other."""
    return {arm for arm in ("sft", "cot_sft", "grpo") if (out / "work" / f"{arm}.building").is_dir()}


def resize(volume: Path, size_bytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size_bytes}", str(volume)], check=True)


def one_sentence(said: str) -> str:
    """The error that the run ended with: its last line, and the only one of its kind."""
    *before, last = said.splitlines()
    assert last.startswith("error: ") and "Traceback" not in said and not any(x.startswith("error: ") for x in before)
    return last.removeprefix("error: ")


def digests(out: Path) -> dict[str, str]:
    """Artifact -> digest, of all that the run's stages made."""
    return {path.parent.name: read_manifest(path.parent).digest for path in (out / "work").glob("*/manifest.json")}


def read_promoted(out: Path) -> str:
    return str(json.loads((out / "summary.json").read_text(encoding="utf-8"))["promoted"]["digest"])
