"""Makes the project's environment in .venv/: `python3.11 tools/environment.py`, or `make .venv/ready`.

Everything is pinned (pyproject.toml, requirements.lock). The work is done by uv, itself installed by pip, because it is
several times faster; where uv cannot be had or fails, pip does the same. uv does not read pip's configuration, so what
pip knows about this machine (index, wheel folders, certificates) is handed on: a wheel folder may hold the CPU build of
torch, which answers to the pin `torch==2.13.0`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
UV = ENVIRONMENT / "bin" / "uv"
UV_PIN = "uv==0.13.9"
EXTRAS = "train,serve,tracking,docker,test"


def main() -> int:
    if sys.version_info[:2] != (3, 11):
        found = ".".join(map(str, sys.version_info[:2]))
        print(f"this is Python {found}, the project needs 3.11: make PYTHON=/path/to/python3.11", file=sys.stderr)
        return 2
    # pip comes last: a set-up that was killed half-way leaves an interpreter without it.
    if not PYTHON.with_name("pip").exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
    print("setting up .venv/ (a minute, more on a slow network)", flush=True)
    wanted = ["--quiet", "--editable", f"{ROOT}[{EXTRAS}]", "--constraint", str(ROOT / "requirements.lock")]
    index = os.environ.get("INDEX_URL", "")
    if index:
        wanted += ["--index-url", index]
    bootstrap = [PYTHON, "-m", "pip", "install", "--quiet", *_index(index), UV_PIN]
    uv = [UV, "pip", "install", "--compile-bytecode", "--python", PYTHON, *options_from_pip(index_given=bool(index))]
    if run(bootstrap) == 0 and run([*uv, *wanted], certificates()) == 0:
        return 0
    print("uv could not do it; pip will, in a few minutes.", file=sys.stderr)
    return run([PYTHON, "-m", "pip", "install", *wanted])


def run(command: list[str | Path], env: dict[str, str] | None = None) -> int:
    return subprocess.run([str(part) for part in command], env=os.environ | (env or {}), check=False).returncode


def _index(url: str) -> list[str]:
    return ["--index-url", url] if url else []


def options_from_pip(*, index_given: bool = False) -> list[str]:
    """uv's options for the package locations that pip is configured with."""
    options = []
    for link in _pip_setting("find-links"):
        options += ["--find-links", link]
    if not index_given:
        for url in _pip_setting("index-url")[:1]:
            options += ["--default-index", url]
    return options


def certificates() -> dict[str, str]:
    found = _pip_setting("cert")
    return {"SSL_CERT_FILE": found[0]} if found and "SSL_CERT_FILE" not in os.environ else {}


def _pip_setting(name: str) -> list[str]:
    """What pip would use: its environment variable, or its configuration files."""
    from_environment = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if from_environment:
        return from_environment.split()
    command = [str(PYTHON), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        if key in (f"install.{name}", f"global.{name}"):
            return value.strip("'\"").split()
    return []


if __name__ == "__main__":
    sys.exit(main())
