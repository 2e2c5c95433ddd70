"""This machine's containers as the place where steps run: KFP's Docker runner, bounded as a cluster would bound it.

Folders are mounted at their own paths, so that a place is called the same inside and outside. A step may write to the
run's folder, to those that the infra file names and to /tmp, and to nothing else; it has no rights and, where nothing
needs it, no network.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from deepperception.errors import InfrastructureError, InputError
from deepperception.infra import Infra
from deepperception.platform import lifeline
from deepperception.recipe import Recipe
from deepperception.tracking import PATIENCE

if TYPE_CHECKING:
    from kfp import local

IMAGE_USER = 10001
"""Of all our images, and of their group."""
# What a step needs to know of the one who runs the command; the rest of it stays outside.
_PASSED_ON = (
    lifeline.VARIABLE,
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    PATIENCE,
    "OMP_NUM_THREADS",
)


def runner(recipe: Recipe, infra: Infra, out: Path, references: Path, image: str) -> local.DockerRunner:
    """KFP's runner for a run in `out`; `references` is where KFP keeps what steps hand on.

    InfrastructureError where no engine answers, InputError where it does not have the image.
    """
    from docker.types import Mount
    from kfp import local

    _check(image)
    apart = _written(infra, out)
    new = [place for place in apart if not place.exists()]
    user = _owner(out, infra.work_dir, references, references / "workspace", *new)
    mounts = [Mount(target=str(place), source=str(place), type="bind") for place in (out, *apart)]
    for place in _read(recipe, infra):
        mounts.append(Mount(target=str(place), source=str(place), type="bind", read_only=True))
    known = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return local.DockerRunner(
        user=f"{user[0]}:{user[1]}",
        # A number without a name in the image still has to be called something.
        environment={"USER": "deepperception", **infra.docker.environment, **known},
        mounts=mounts,
        network_mode=infra.docker.network,
        mem_limit=infra.docker.memory,
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        init=True,  # a step's own children are buried, and signals reach it
    )


def _check(image: str) -> None:
    """KFP would try to pull what is not there, and say that it cannot in forty lines."""
    import docker

    try:
        with contextlib.closing(docker.from_env()) as client:
            client.images.get(image)
    except docker.errors.ImageNotFound:
        raise InputError(
            f"the engine has no image {image}; build it with `make images`, and name it as build/images.json does, in "
            "images.trainer of the infra file or by DEEPPERCEPTION_TRAINER_IMAGE."
        ) from None
    except docker.errors.DockerException as error:
        why = str(error).splitlines()[0]
        raise InfrastructureError(f"no Docker engine answers ({why}); start one, or set DOCKER_HOST.") from None


def _owner(*folders: Path) -> tuple[int, int]:
    """Who steps run as: the owner of the command; for root, who has no business there, the image's own user.

    The folders are made here where they are not there, and made that user's: the engine would make them root's.
    """
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return os.getuid(), os.getgid()
    for folder in folders:
        os.chown(folder, IMAGE_USER, IMAGE_USER)
    return IMAGE_USER, IMAGE_USER


def _written(infra: Infra, out: Path) -> list[Path]:
    """The folders outside the run's own that its steps write to."""
    scheme, _, rest = infra.store.rpartition("://")
    store = Path(unquote(rest) if scheme else rest) if scheme in ("", "file") else None
    named = (infra.work_dir, store, infra.s3.cache_dir if infra.s3 else None)
    return [place.absolute() for place in named if place is not None and not place.absolute().is_relative_to(out)]


def _read(recipe: Recipe, infra: Infra) -> list[Path]:
    """What its steps read outside the run's own folder."""
    named = (Path(recipe.model.base), recipe.synthesis.source.path, infra.s3.ca_file if infra.s3 else None)
    return [place.absolute() for place in named if place is not None and place.exists()]
