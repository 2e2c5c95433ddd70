"""What is in the images and what is not."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from packaging.utils import canonicalize_name

from .containers import Built

pytestmark = pytest.mark.docker

COMPILERS = ("gcc", "cc", "g++", "c++", "clang", "ld", "as", "make", "nvcc", "rustc")


def test_it_runs_as_a_user_without_rights_who_has_a_name(image: Built) -> None:
    done = image.run("sh", "-c", "id -u; id -g; python -c 'import getpass; print(getpass.getuser())'")
    assert done.stdout.split() == ["10001", "10001", "deepperception"], done.stderr


def test_kubernetes_can_tell_that_it_is_not_root(image: Built) -> None:
    """runAsNonRoot looks at the image's user, and a name would not do."""
    assert image.docker.call("image", "inspect", "--format", "{{.Config.User}}", image.facts["image"]) == "10001:10001"


def test_only_tmp_and_work_are_written_to(image: Built) -> None:
    done = image.run("sh", "-c", "touch /tmp/a /work/b && ! touch /opt/deepperception/c")
    assert done.returncode == 0, done.stderr


def test_nobody_but_root_owns_the_code(image: Built) -> None:
    """Where the root is not read-only, either."""
    theirs = ("!", "-type", "l", "(", "-user", "10001", "-o", "-perm", "-o+w", ")")
    found = image.run("find", "/opt/deepperception", *theirs)
    assert (found.returncode, found.stdout) == (0, ""), found.stderr


def test_there_is_no_compiler_no_installer_and_no_cache_of_one(image: Built) -> None:
    found = image.run("sh", "-c", f"command -v {' '.join(COMPILERS)} pip uv; ls -A /root /build /tmp 2>/dev/null")
    assert [line for line in found.stdout.splitlines() if line.startswith("/") and not line.endswith(":")] == []
    caches = image.run("sh", "-c", "ls -d /root/.cache /opt/build /build /var/cache/apt/archives/*.deb 2>/dev/null")
    assert caches.stdout == ""


def test_every_package_is_the_locked_one(image: Built) -> None:
    code = "import importlib.metadata as m; print('\\n'.join(f'{d.name}=={d.version}' for d in m.distributions()))"
    done = image.run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    found = [line.split("==") for line in done.stdout.split()]
    installed = {f"{canonicalize_name(name)}=={number}" for name, number in found}
    lock = (image.source / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {line for line in lock if line and not line.startswith("#")}
    own = set() if image.name == "tracking" else {f"deepperception=={version('deepperception')}"}
    assert installed == locked | own


def test_it_says_what_it_is(image: Built) -> None:
    told = image.docker.call("image", "inspect", "--format", "{{json .Config.Labels}}", image.facts["image"])
    labels = json.loads(told)
    assert labels["org.opencontainers.image.version"] == version("deepperception")
    assert labels["org.opencontainers.image.revision"] == image.facts["revision"]
    assert "org.opencontainers.image.source" in labels
    known = image.run("sh", "-c", "echo $DEEPPERCEPTION_COMMIT $DEEPPERCEPTION_IMAGE").stdout.split()
    assert known == [image.facts["revision"], image.facts["image"]]


def test_the_command_works_offline(own_image: Built) -> None:
    said = own_image.run("deepperception", "--version")
    assert said.returncode == 0 and version("deepperception") in said.stdout, said.stderr
    assert "Labelled photos go in" in own_image.run("deepperception", "--help").stdout


def test_the_recipes_travel_along(own_image: Built) -> None:
    done = own_image.run("deepperception", "check", "bestiary", "--out", "/work/run")
    assert done.returncode == 0 and done.stdout.startswith("bestiary: fine."), done.stderr


@pytest.mark.parametrize("modules", ["trl, datasets, kfp, mlflow.tracking, kserve", "kfp.dsl.executor_main"])
def test_the_trainer_has_what_the_stages_import(trainer_image: Built, modules: str) -> None:
    done = trainer_image.run("python3", "-c", f"import {modules}")
    assert done.returncode == 0, done.stderr


def test_the_tracking_image_has_its_drivers(tracking_image: Built) -> None:
    """What a URI without a driver's name means is SQLAlchemy's choice, and has changed."""
    code = (
        "import boto3, flask_wtf, sqlalchemy as s\n"
        "for uri in ('postgresql://u:p@h/d', 'postgresql+psycopg://u:p@h/d'): print(s.create_engine(uri).driver)"
    )
    done = tracking_image.run("python", "-c", code)
    assert done.stdout.split() == ["psycopg", "psycopg"], done.stderr
