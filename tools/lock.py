"""Writes requirements.lock: every package that pyproject.toml's extras bring, pinned (`make lock`)."""

from __future__ import annotations

import subprocess
import sys

from environment import EXTRAS, ROOT, UV, options_from_pip

HEADER = """\
# Every package of .venv/, pinned; tools/environment.py uses it as constraints. Written by `make lock`.
# torch has no +cpu here: a machine whose pip knows a folder of CPU wheels gets that build, others the index's.
"""


def main() -> int:
    command = [UV, "pip", "compile", "--quiet", "--python-version=3.11", "--no-header", "--no-annotate"]
    command += [*options_from_pip(), *(f"--extra={name}" for name in EXTRAS.split(",")), ROOT / "pyproject.toml"]
    made = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode == 0:
        (ROOT / "requirements.lock").write_text(HEADER + made.stdout.replace("+cpu", ""), encoding="utf-8")
    return made.returncode


if __name__ == "__main__":
    sys.exit(main())
