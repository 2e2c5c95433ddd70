"""What several processes do together once, and what they tell each other; no model is needed for that."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from deepperception.artifacts.manifest import verify
from deepperception.artifacts.stage import Outcome
from deepperception.progress import Progress
from deepperception.training import distribution

RANK = """
import json, sys
from pathlib import Path
from deepperception.artifacts.stage import Outcome
from deepperception.errors import InputError
from deepperception.progress import Progress
from deepperception.training import distribution

out, told, progress = Path(sys.argv[1]), {"built": 0}, Progress("", sys.stderr)

def build(folder):
    told["built"] += 1
    shares = distribution.from_all(distribution.rank() + 1)
    if distribution.is_first():
        (folder / "sum.txt").write_text(str(sum(shares)))
    return Outcome(counts={"sum": sum(shares)})

with distribution.joined():
    for _ in range(2):
        manifest = distribution.once_together(
            out / "made",
            kind="model",
            recipe_hash="h",
            seed=0,
            inputs={},
            progress=progress,
            build=build,
        )
    told |= {"digest": manifest.digest, "first": distribution.told_by_first(distribution.rank())}
(out / f"told-{distribution.rank()}.json").write_text(json.dumps(told))
"""


def test_two_processes_make_an_artifact_once(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = verify(tmp_path / "made")
    assert (manifest.counts, manifest.inputs) == ({"sum": 3}, {"ranks": "2"})
    told = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in range(2)]
    assert told == [{"built": 1, "digest": manifest.digest, "first": 0}] * 2
    assert done.stderr.count("reusing") == 1, "the others have nothing to say"


def test_one_process_is_the_first_of_one(tmp_path: Path) -> None:
    def build(folder: Path) -> Outcome:
        (folder / "a").write_text("a")
        return Outcome()

    with distribution.joined():
        assert (distribution.rank(), distribution.processes(), distribution.is_first()) == (0, 1, True)
        assert (distribution.told_by_first("a"), distribution.from_all("a")) == ("a", ["a"])
        progress = Progress("", io.StringIO())
        made = distribution.once_together(
            tmp_path / "made", kind="model", recipe_hash="h", seed=0, inputs={}, progress=progress, build=build
        )
    assert made.inputs == {}, "an artifact of one process is what it always was"
