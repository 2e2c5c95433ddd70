"""What containers of a run get and what they do not, without an engine."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from deepperception.artifacts import S3Settings
from deepperception.errors import InfrastructureError
from deepperception.infra import Docker, Infra, load_infra
from deepperception.platform import docker_runner
from deepperception.platform.packages import pipeline
from deepperception.platform.placement import in_image
from deepperception.recipe import Recipe

pytest.importorskip("docker", reason="the extra 'docker' is not installed")


@pytest.fixture
def docker_infra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infra:
    monkeypatch.setattr(docker_runner, "_check", lambda image: None)
    return load_infra("docker", tmp_path / "run")


def arguments(recipe: Recipe, infra: Infra) -> dict[str, object]:
    out = infra.work_dir.parent
    made = docker_runner.runner(recipe, infra, out, out / "kfp", "deepperception/trainer:x")
    return dict(made.container_run_args)


def test_a_step_writes_to_the_runs_folder_and_reads_what_the_recipe_names(recipe: Recipe, docker_infra: Infra) -> None:
    mounts = {mount["Target"]: mount for mount in arguments(recipe, docker_infra)["mounts"]}  # type: ignore[attr-defined]
    source = recipe.synthesis.source.path
    assert source is not None
    assert set(mounts) == {str(docker_infra.work_dir.parent), recipe.model.base, str(source)}
    assert all(mount["Source"] == target for target, mount in mounts.items())
    assert [target for target, mount in mounts.items() if not mount.get("ReadOnly")] == [
        str(docker_infra.work_dir.parent)
    ]


def test_a_store_and_a_cache_elsewhere_are_written_to_and_a_certificate_is_read(
    recipe: Recipe, docker_infra: Infra, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    s3 = S3Settings(endpoint="https://s3.example", ca_file=authority, cache_dir=tmp_path / "cache")
    apart = docker_infra.model_copy(update={"store": f"file://{tmp_path}/a%20store", "s3": s3})
    mounts = {mount["Target"]: mount.get("ReadOnly") for mount in arguments(recipe, apart)["mounts"]}  # type: ignore[attr-defined]
    assert mounts[str(tmp_path / "a store")] == mounts[str(tmp_path / "cache")] is False
    assert mounts[str(authority)] is True
    assert (tmp_path / "a store").is_dir(), "the engine would make it root's"


def test_a_cache_in_the_runs_own_folder_is_no_mount_of_its_own(recipe: Recipe, docker_infra: Infra) -> None:
    out = docker_infra.work_dir.parent
    s3 = S3Settings(endpoint="https://s3.example", cache_dir=out / "cache")
    inside = docker_infra.model_copy(update={"store": "s3://models/store", "s3": s3})
    assert [mount["Target"] for mount in arguments(recipe, inside)["mounts"]] == [  # type: ignore[attr-defined]
        mount["Target"]
        for mount in arguments(recipe, docker_infra)["mounts"]  # type: ignore[attr-defined]
    ]


def test_it_has_no_rights_and_no_network(recipe: Recipe, docker_infra: Infra) -> None:
    given = arguments(recipe, docker_infra)
    assert given["read_only"] is True
    assert given["cap_drop"] == ["ALL"]
    assert given["network_mode"] == "none"
    assert "privileged" not in given


def test_of_the_environment_only_what_a_step_needs_goes_in(
    recipe: Recipe, docker_infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "models")
    monkeypatch.setenv("SOMEBODYS_PASSWORD", "secret")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    environment = arguments(recipe, docker_infra)["environment"]
    assert environment["AWS_ACCESS_KEY_ID"] == "models"  # type: ignore[index]
    assert not {"SOMEBODYS_PASSWORD", "MLFLOW_TRACKING_PASSWORD"} & set(environment)  # type: ignore[call-overload]


def test_the_infra_file_sets_the_steps_environment_and_no_key(
    recipe: Recipe, docker_infra: Infra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "models")
    given = Docker(environment={"TMPDIR": "/work", "AWS_ACCESS_KEY_ID": "of a file"})
    environment = arguments(recipe, docker_infra.model_copy(update={"docker": given}))["environment"]
    assert environment["TMPDIR"] == "/work"  # type: ignore[index]
    assert environment["AWS_ACCESS_KEY_ID"] == "models"  # type: ignore[index]


def test_the_infra_files_image_is_every_steps_image() -> None:
    flow = in_image(pipeline("deepperception"), "registry/trainer@sha256:x")
    executors = flow.pipeline_spec.deployment_spec["executors"]
    assert {executors[name]["container"]["image"] for name in executors} == {"registry/trainer@sha256:x"}


def test_steps_run_as_the_one_who_asks(recipe: Recipe, docker_infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 99)
    assert arguments(recipe, docker_infra)["user"] == "1234:99"


def test_steps_never_run_as_root(recipe: Recipe, docker_infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: dict[Path, tuple[int, int]] = {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, user, group: handed.update({path: (user, group)}))
    assert arguments(recipe, docker_infra)["user"] == "10001:10001"
    out = docker_infra.work_dir.parent
    assert set(handed) == {out, out / "work", out / "kfp", out / "kfp" / "workspace"}
    assert all(folder.is_dir() for folder in handed)


# docker-py forgets the socket that could not connect; it is collected here, so that no other test is blamed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_no_engine_is_said_in_one_sentence(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    infra = load_infra("docker", tmp_path / "run")
    with pytest.raises(InfrastructureError, match="no Docker engine answers") as told:
        arguments(recipe, infra)
    assert "\n" not in str(told.value)
    del told
    gc.collect()
