"""Makes a base image where no registry is in reach: `make base-image` (Debian bookworm with Python 3.11, two minutes).

Production names python:3.11-slim, by digest; this one holds the same Python without a registry. It needs root and
debootstrap. The name is deepperception/base:bookworm; an image of that name is kept.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from docker_engine import CommandFailed, Docker, Unavailable, engine

NAME = "deepperception/base:bookworm"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# python3-distutils: python3.11-venv wants it under a virtual name, which debootstrap does not understand.
PACKAGES = ("ca-certificates", "python3.11", "python3-distutils", "python3.11-venv")
_ATTEMPTS = 3
LEFT_OUT = (
    "./debootstrap",
    "./usr/share/doc/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)


def main() -> int:
    try:
        with engine() as docker:
            if docker.image_id(NAME) is None:
                _make(docker)
            print(f"{NAME}  {docker.image_id(NAME)}")
    except (Unavailable, CommandFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


def _make(docker: Docker) -> None:
    if shutil.which("debootstrap") is None:
        raise Unavailable("debootstrap is not installed: apt-get install --no-install-recommends debootstrap.")
    with tempfile.TemporaryDirectory(prefix="deepperception-base-") as folder:
        print(f"making {NAME} (Debian {SUITE}, two minutes)", flush=True)
        root = _bootstrap(Path(folder))
        packed = Path(folder, "root.tar")
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
        subprocess.run(["tar", "-C", str(root), *left_out, "-cf", str(packed), "."], check=True)
        docker.call("import", str(packed), NAME)


def _bootstrap(folder: Path) -> Path:
    """The root of a new Debian, below `folder`; a mirror that fails is asked again."""
    for attempt in range(1, _ATTEMPTS + 1):
        root = folder / f"root{attempt}"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), MIRROR]
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode == 0:
            return root
        last = (made.stdout.strip().splitlines() or ["it said nothing"])[-1]
        print(f"attempt {attempt} of {_ATTEMPTS} failed: {last}", file=sys.stderr)
        if attempt < _ATTEMPTS:
            time.sleep(attempt * 10)
    raise Unavailable(f"debootstrap failed: {last}")


if __name__ == "__main__":
    sys.exit(main())
