"""Compile the pipelines anew into tests/pipelines/golden/; `git diff` then shows what a change does on a cluster."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "pipelines" / "golden"
NODES = GOLDEN / "nodes"
"""For an infra file with more than one node."""


def main() -> None:
    warnings.simplefilter("ignore")  # kfp's own
    from deepperception.infra import load_infra
    from deepperception.platform.packages import PIPELINES, compiled

    infra, nodes = load_infra(GOLDEN / "infra.yaml"), load_infra(NODES / "infra.yaml")
    written = {GOLDEN / f"{name}.yaml": compiled(name, infra) for name in PIPELINES}
    written |= {NODES / "deepperception.yaml": compiled("deepperception", nodes), NODES / "trainjobs.yaml": jobs(nodes)}
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
        print(path)


def jobs(infra: Any) -> str:
    """The TrainJobs of the infra file, as YAML. Of their names, what a recipe's content decides becomes noughts."""
    from deepperception.platform.submit import rendered_jobs
    from deepperception.recipe import load_recipe

    recipe = load_recipe("bestiary", seed=7)
    text = ""
    for job, content in rendered_jobs(recipe, infra, infra.work_dir).items():
        text += "---\n" + content.replace(job, f"{job.rpartition('-')[0]}-00000000")
    return text


if __name__ == "__main__":
    main()
