"""What goes into an image: its build context, the facts written on it, and the tag that stands for both."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from docker_engine import Unavailable
from environment import ROOT
from image_locks import lock_path

# What the project's wheel is made of. Its README is only the wheel's description, and goes in empty: a word in it
# changes no image.
SOURCE = ("pyproject.toml", "LICENSE", "src", "components", "pipelines", "recipes", "infra")
_TAG_DIGITS = 12


def gather(name: str, form: str, wheels: Iterable[Path], folder: Path) -> None:
    """Fill `folder` with the build context of an image: all that goes into it but the base."""
    shutil.copy(ROOT / "images" / name / "Dockerfile", folder)
    shutil.copy(ROOT / "images" / "install.sh", folder)
    shared, own = _locks(name, form)
    (folder / "shared.lock").write_text(shared, encoding="utf-8")
    (folder / "own.lock").write_text(own, encoding="utf-8")
    (folder / "wheels").mkdir()
    for wheel in wheels:
        shutil.copy(wheel, folder / "wheels")
    if name == "tracking":
        return
    for file in _tracked(SOURCE):
        place = folder / "source" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, place, follow_symlinks=False)
    (folder / "source" / "README.md").touch()


def _locks(name: str, form: str) -> tuple[str, str]:
    """An image's lock in two: what the trainer and the server both hold, and the rest. Tracking shares nothing."""
    locked = _packages(name, form)
    both = set(locked) if name == "tracking" else set(_packages("trainer", form)) & set(_packages("server", form))
    return _lines(line for line in locked if line in both), _lines(line for line in locked if line not in both)


def _packages(name: str, form: str) -> list[str]:
    lines = lock_path(name, form).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _lines(packages: Iterable[str]) -> str:
    return "".join(f"{package}\n" for package in packages)


def content_tag(context: Path, told: Mapping[str, str]) -> str:
    """VERSION-FORM-HASH, the hash over the context's files and links and over all that the build is `told`.

    `told` holds at least VERSION, FORM and BASE_ID.
    """
    whole = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for path in sorted(context.rglob("*")):
        if path.is_symlink():
            content = f"link to {path.readlink()}"
        elif path.is_file():
            content = f"{path.stat().st_mode & 0o111:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        else:
            continue
        whole.update(f"{path.relative_to(context)}\0{content}\n".encode())
    return f"{told['VERSION']}-{told['FORM']}-{whole.hexdigest()[:_TAG_DIGITS]}"


def cpu_wheels(name: str, folders: Iterable[Path]) -> tuple[Path, ...]:
    """The wheels of torch's CPU build that an image's lock names: package indexes do not have it.

    Unavailable where it names one and no folder holds it.
    """
    lock = lock_path(name, "cpu").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lock if "+cpu" in line]
    found = []
    for pin in pins:
        stem = pin.replace("==", "-")
        wheels = [wheel for folder in folders for wheel in sorted(folder.glob(f"{stem}-cp311-*x86_64.whl"))]
        if not wheels:
            raise Unavailable(
                f"the CPU form needs the wheel {pin}, which package indexes do not have; name a folder that holds it "
                "with WHEELS=DIR (pip download --no-deps --index-url https://download.pytorch.org/whl/cpu "
                f"--dest DIR '{pin}')."
            )
        found.append(wheels[0])
    return tuple(found)


def facts(name: str) -> dict[str, str]:
    """What an image says of itself: version, revision, source."""
    return {"VERSION": _version(), "REVISION": _revision(name), "SOURCE": _source()}


def _tracked(paths: Iterable[str]) -> list[str]:
    """The files below the paths that git knows, or would."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *paths)
    return sorted({file for file in listed.split("\0") if file and os.path.lexists(ROOT / file)})


def _revision(name: str) -> str:
    """The commit that last changed what goes in; '-modified' where the working tree is ahead of it."""
    inputs = [f"images/{name}", "images/install.sh", *(SOURCE if name != "tracking" else ())]
    commit = _git("log", "-1", "--format=%H", "--", *inputs).strip()
    return commit + ("-modified" if _git("status", "--porcelain", "--", *inputs).strip() else "")


def _source() -> str:
    """Where the repository can be had from; empty where that is a folder of this machine."""
    done = subprocess.run(["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True, check=False)
    url = done.stdout.strip()
    return url if url.startswith("https://") and "@" not in url else ""


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"git is asked which files belong to the project, and said: {done.stderr.strip()}")
    return done.stdout
