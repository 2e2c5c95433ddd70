"""Builds the images of images/, named by their content: `make images`.

The tag is a hash over all that goes into an image: its build context, byte for byte, its form (cpu or gpu), the id of
its base image, and the commit that last changed any of it. So a tag stands for one content, as KFP's cache key needs
it, and what the engine has already is not built again. build/images.json says what is what:

    {"trainer": {"image": "deepperception/trainer:0.1.0-cpu-1f2e...", "id": "sha256:...", "digest": null,
                 "form": "cpu", "base": "python:3.11-slim", "base_id": "sha256:...",
                 "revision": "...", "size_bytes": n}}

`digest` is what a registry knows the image by, and is known only after --push.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_engine import CommandFailed, Docker, Unavailable, engine
from environment import ROOT, options_from_pip
from image_context import content_tag, cpu_wheels, facts, gather

IMAGES = ("trainer", "server", "tracking")
REPOSITORY = "deepperception"
BASE = "python:3.11-slim"
LISTED = ROOT / "build" / "images.json"
KEPT_CACHE = "10gb"
"""Of what builds are made from, after --prune: what the next build takes over, and the packages as fetched."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line."""

    form: str
    base: str
    wheels: tuple[Path, ...]
    registry: str
    push: bool
    prune: bool


def build(docker: Docker, name: str, wanted: Wanted) -> dict[str, Any]:
    """Build the image where the engine does not have it; what images.json says of it."""
    form = "cpu" if name == "tracking" else wanted.form  # MLflow has no use for a GPU
    base_id = _base_id(docker, wanted.base)
    wheels = cpu_wheels(name, wanted.wheels) if form == "cpu" else ()
    told = facts(name)
    with tempfile.TemporaryDirectory(prefix="deepperception-image-") as folder:
        context = Path(folder)
        gather(name, form, wheels, context)
        tag = content_tag(context, {**told, "FORM": form, "BASE_ID": base_id})
        image = f"{wanted.registry}{REPOSITORY}/{name}:{tag}"
        done = "is there"
        if docker.image_id(image) is None:
            started = time.monotonic()
            print(f"{image}  building", flush=True)
            _build(docker, name, context, image, {**told, "BASE_IMAGE": wanted.base, "IMAGE": image})
            done = f"built in {time.monotonic() - started:.0f} s"
    size_bytes = int(docker.call("image", "inspect", "--format", "{{.Size}}", image))
    print(f"{image}  {done}, {size_bytes / 1e6:,.0f} MB", flush=True)
    return {
        "image": image,
        "id": docker.image_id(image),
        "digest": _push(docker, image) if wanted.push else None,
        "form": form,
        "base": wanted.base,
        "base_id": base_id,
        "revision": told["REVISION"],
        "size_bytes": size_bytes,
    }


def _build(docker: Docker, name: str, context: Path, image: str, told: Mapping[str, str]) -> None:
    # The host's network: its proxies and name servers are what the build needs to reach the index.
    command = [docker.client, "build", "--network", "host", "--progress", "plain", "--tag", image]
    for key, value in told.items():
        command += ["--build-arg", f"{key}={value}"]
    if index := os.environ.get("INDEX_URL") or os.environ.get("PIP_INDEX_URL"):
        command += ["--build-arg", f"PIP_INDEX_URL={index}"]
    if certificates := os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"):
        command += ["--secret", f"id=ca,src={certificates}"]
    done = subprocess.run(
        [*command, str(context)],
        env=docker.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    log = ROOT / "build" / "images" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout, encoding="utf-8")
    if done.returncode != 0:
        told_last = "\n".join(done.stdout.strip().splitlines()[-20:])
        raise CommandFailed(f"{image} was not built; {log} has all of it, which ends:\n{told_last}")


def _push(docker: Docker, image: str) -> str:
    """Push, and say by which digest the registry knows the image."""
    docker.call("push", "--quiet", image)
    repository = image.rpartition(":")[0]
    known = json.loads(docker.call("image", "inspect", "--format", "{{json .RepoDigests}}", image))
    return next(digest.partition("@")[2] for digest in known if digest.startswith(f"{repository}@"))


def _base_id(docker: Docker, base: str) -> str:
    known = docker.image_id(base)
    if known is None:
        try:
            docker.call("pull", "--quiet", base)
        except CommandFailed as error:
            raise Unavailable(
                f"the base image {base} is not here and cannot be pulled ({error}); name another with BASE_IMAGE=, or "
                "make one with `make base-image` and BASE_IMAGE=deepperception/base:bookworm."
            ) from None
        known = docker.image_id(base)
    assert known is not None
    return known


def _wanted(arguments: list[str] | None) -> tuple[list[str], Wanted]:
    parser = argparse.ArgumentParser(description="Build the images, named by their content.")
    parser.add_argument("names", nargs="*", default=list(IMAGES), metavar="NAME", help=f"of {', '.join(IMAGES)}")
    parser.add_argument("--form", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--base", default=os.environ.get("BASE_IMAGE") or BASE, metavar="IMAGE")
    parser.add_argument("--wheels", action="append", default=[], type=Path, metavar="DIR", help="of torch's CPU wheel")
    parser.add_argument("--registry", default="", metavar="HOST/PATH", help="in front of the images' names")
    parser.add_argument("--push", action="store_true", help="to that registry; its digests go into images.json")
    parser.add_argument("--prune", action="store_true", help="remove the images of earlier builds, and old build cache")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in IMAGES]
    if unknown:
        parser.error(f"there is no image '{unknown[0]}'; there are {', '.join(IMAGES)}.")
    if given.push and not given.registry:
        parser.error("--push needs --registry HOST/PATH.")
    known = [Path(value) for option, value in _pairs(options_from_pip()) if option == "--find-links"]
    registry = f"{given.registry.rstrip('/')}/" if given.registry else ""
    return given.names, Wanted(given.form, given.base, tuple(given.wheels or known), registry, given.push, given.prune)


def _pairs(options: list[str]) -> list[tuple[str, str]]:
    return list(zip(options[::2], options[1::2], strict=True))


def _list(name: str, built: dict[str, Any]) -> None:
    """Write it down at once: a later build may fail, and others may be building, too."""
    listed = json.loads(LISTED.read_text(encoding="utf-8")) if LISTED.exists() else {}
    LISTED.parent.mkdir(parents=True, exist_ok=True)
    LISTED.write_text(json.dumps({**listed, name: built}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _prune(docker: Docker, names: list[str]) -> None:
    """Remove the other images of these names, and the oldest of the build cache."""
    listed = {entry["image"] for entry in json.loads(LISTED.read_text(encoding="utf-8")).values()}
    for name in names:
        told = docker.call("images", "--format", "{{.Repository}}:{{.Tag}}", f"{REPOSITORY}/{name}").split()
        for image in sorted(set(told) - listed):
            try:
                docker.call("rmi", image)
                print(f"{image}  removed")
            except CommandFailed as error:  # a container runs in it
                print(f"{image}  stays: {error}")
    docker.call("builder", "prune", "--force", "--keep-storage", KEPT_CACHE)


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 an image was not built, 2 usage, 3 there is no engine, base or wheel to build with."""
    names, wanted = _wanted(arguments)
    try:
        with engine() as docker:
            for name in names:
                _list(name, build(docker, name, wanted))
            if wanted.prune:
                _prune(docker, names)
    except (Unavailable, CommandFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3 if isinstance(error, Unavailable) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
