"""Compile the pipelines anew into tests/pipelines/golden/; `git diff` then shows what a change does on a cluster."""

from __future__ import annotations

import warnings
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "pipelines" / "golden"


def main() -> None:
    warnings.simplefilter("ignore")  # kfp's own
    from deepperception.infra import load_infra
    from deepperception.platform.packages import PIPELINES, compiled

    infra = load_infra(GOLDEN / "infra.yaml")
    for name in PIPELINES:
        path = GOLDEN / f"{name}.yaml"
        path.write_text(compiled(name, infra), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
