"""Writes the images' lock files, images/*/requirements*.lock: every package of an image, pinned (part of `make lock`).

The CPU forms are drawn from requirements.lock, so that an image runs what the tests ran. The GPU forms are resolved
anew, for vllm narrows some pins (images/gpu-overrides.txt). The tracking image has the full MLflow and nothing of ours,
from pyproject.toml's extra 'tracking-server'.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from environment import ROOT, UV, options_from_pip

IMAGES = ROOT / "images"
PROJECT = ROOT / "pyproject.toml"
# The trainer can serve, too: on one machine the promotion step asks the candidate over HTTP before it is promoted.
EXTRAS = {
    ("trainer", "cpu"): ("train", "serve", "tracking"),
    ("trainer", "gpu"): ("train", "serve", "tracking", "gpu"),
    ("server", "cpu"): ("serve",),
    ("server", "gpu"): ("serve", "gpu"),
}


def lock_path(image: str, form: str) -> Path:
    """Where the lock of an image's form is. The tracking image has one form."""
    return IMAGES / image / ("requirements-gpu.lock" if form == "gpu" else "requirements.lock")


def main() -> int:
    for (image, form), extras in EXTRAS.items():
        options = [f"--extra={extra}" for extra in extras]
        if form == "gpu":
            options += ["--override", IMAGES / "gpu-overrides.txt"]
        else:  # with the folder of CPU wheels that pip knows of
            options += ["--constraint", ROOT / "requirements.lock", *options_from_pip()]
        _lock(lock_path(image, form), [*options, PROJECT])
    wanted = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]["tracking-server"]
    _lock(lock_path("tracking", "cpu"), ["-"], given="\n".join(wanted))
    return 0


def _lock(path: Path, arguments: list[str | Path], given: str | None = None) -> None:
    platform = "--python-platform=x86_64-manylinux_2_28"
    command = [UV, "pip", "compile", "--quiet", "--python-version=3.11", platform, "--no-header", "--no-annotate"]
    done = subprocess.run(
        [str(part) for part in (*command, *arguments)], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{path}: cannot be resolved.\n{done.stderr}")
    if path == lock_path(path.parent.name, "cpu") and "torch==" in done.stdout and "+cpu" not in done.stdout:
        raise SystemExit(f"{path}: pip knows of no folder with torch's CPU wheel; set PIP_FIND_LINKS and lock again.")
    header = f"# Every package of the image '{path.parent.name}', pinned. Written by `make lock`.\n"
    path.write_text(header + done.stdout, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(done.stdout.splitlines())} packages")


if __name__ == "__main__":
    sys.exit(main())
