"""One process of a TrainJob, started by `torchrun` on every node: the stage, or this process's share of it.

    torchrun --module deepperception.platform.trainjob.rank FOLDER

The first process does what a step does: it makes the artifact, stores and records it. The others read the same inputs
and compute. The process that fails first leaves word; the others end with it, and the first one tells.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepperception.infra import Infra
from deepperception.platform.attempts import attempt
from deepperception.platform.stages import Outputs, perform
from deepperception.platform.trainjob.render import job_folder, job_name
from deepperception.platform.trainjob.words import Words
from deepperception.platform.workplace import Metadata, Workplace
from deepperception.progress import Progress
from deepperception.recipe import Recipe
from deepperception.training import distribution


def main(folder: Path) -> int:
    """Exit code of this process."""
    words = Words(folder)
    reply = attempt(words.call(), _take_part)
    if "error" in reply:
        told = words.fail(reply)
        if distribution.is_first():
            print(f"{told['message']}", file=sys.stderr, flush=True)
        return int(told["exit_code"])
    if distribution.is_first():
        words.reply(reply["outputs"])
    return 0


def _take_part(stage: str, recipe: str, infra: str, seed: int, inputs: dict[str, Metadata]) -> Outputs:
    settings = Recipe.from_json(recipe).model_copy(update={"seed": seed})
    kind = Workplace if distribution.is_first() else _Helper
    place = kind(stage, settings, Infra.from_json(infra), inputs)
    place.evidence.append(Words(job_folder(place.infra, job_name(stage, place.recipe, place.infra))).job_file)
    with distribution.joined():
        place.progress.say(f"{distribution.processes()} processes are together")
        return perform(place)


class _Helper(Workplace):
    """The view of a process that computes: nobody hears it, and it stores and records nothing."""

    def __init__(self, stage: str, recipe: Recipe, infra: Infra, inputs: Mapping[str, Metadata]) -> None:
        super().__init__(stage, recipe, infra, inputs, Progress(stage, open(os.devnull, "w")))  # noqa: SIM115

    def begin(self) -> None:
        pass

    def keep(self, *_: Any, **__: Any) -> Metadata:
        return {}


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the clean-up: a process that failed would wait there for others that wait for it.
    os._exit(code)
