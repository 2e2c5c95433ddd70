"""Makes .venv-mlflow/, the MLflow server that tests start: `make .venv-mlflow/ready` (two minutes, 650 MB, once).

It holds what the tracking image holds, by the same lock. The server has an environment of its own because the full
MLflow would narrow what the rest may install.
"""

from __future__ import annotations

import subprocess
import sys
import venv

from environment import PYTHON, ROOT, UV, certificates, options_from_pip, run

ENVIRONMENT = ROOT / ".venv-mlflow"
LOCK = ROOT / "images" / "tracking" / "requirements.lock"


def main() -> int:
    if not UV.exists():
        print(f"{UV}: make .venv/ready first, the tools are there", file=sys.stderr)
        return 2
    print("setting up .venv-mlflow/, the MLflow server of the tests (two minutes, once)", flush=True)
    venv.create(ENVIRONMENT, with_pip=False, clear=True)
    python = ENVIRONMENT / "bin" / "python"
    uv = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *options_from_pip()]
    if run([*uv, "-r", LOCK], certificates()) == 0:
        return 0
    print("uv could not do it; pip will, in a few minutes.", file=sys.stderr)
    return subprocess.run([PYTHON, "-m", "pip", "--python", python, "install", "--quiet", "-r", LOCK]).returncode


if __name__ == "__main__":
    sys.exit(main())
