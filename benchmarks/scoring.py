"""Scoring replies that are there already: the size of KVG-Bench, and a million.

Each measurement is a process of its own that does what `deepperception evaluate --predictions` does; its clock starts
after the imports.
"""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.limits import Limit

KVG_CASES = 1_336
MILLION = 1_000_000
CPU_GOAL_S, MILLION_GOAL_S = 2.0, 60.0
_BASE_CASES = 100_000
_MOST_BYTES_A_CASE = 64
_CATEGORIES = ["aircraft", "car", "reptilia", "bird", "food", "dog", "mollusca", "mammal", "flower", "landmark"]
_BOX = "<|box_start|>({},{}),({},{})<|box_end|>"
# In the proportions of a mixed bag of models: the trained form, JSON, prose, and nothing to be read.
_REPLIES = (
    "<think>{0} has a forked tail. (100,200),(300,400) has none.</think><answer>{0}({1},{2}),({3},{4})</answer>",
    "({1},{2}),({3},{4})",
    '```json\n[{{"bbox_2d": [{1}, {2}, {3}, {4}], "label": "{0}"}}]\n```',
    "[{1},{2},{3},{4}]",
    "I see no {0}.",
)


def kvg() -> Limit:
    """CPU seconds for as many cases as KVG-Bench has, each with a picture of usual size in the file."""
    return Limit("scoring_1336", lambda: _taken(KVG_CASES, picture_bytes=100_000, clock="cpu_s"), CPU_GOAL_S)


def million() -> Limit:
    """Seconds for a million, replies in another order than the questions; memory may grow with the index alone."""
    return Limit(
        "scoring_1m",
        _million,
        MILLION_GOAL_S,
        rounds=1,
        also=lambda taken: taken["bytes_a_case"] <= _MOST_BYTES_A_CASE,
    )


def _million() -> dict[str, Any]:
    base, whole = (_taken(cases, picture_bytes=64, clock="wall_s") for cases in (_BASE_CASES, MILLION))
    grown = (whole["peak_bytes"] - base["peak_bytes"]) / (MILLION - _BASE_CASES)
    return {**whole, "bytes_a_case": round(grown, 1)}


def _taken(cases: int, *, picture_bytes: int, clock: str) -> dict[str, Any]:
    benchmark, predictions = _files(cases, picture_bytes)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.scoring", str(benchmark), str(predictions), f"{folder}/out"]
        told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert told["cases"] == cases
    return {"seconds": told[clock], **told}


@functools.cache
def _files(cases: int, picture_bytes: int) -> tuple[Path, Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(_folder().name)
    benchmark, predictions = folder / f"{cases}.parquet", folder / f"{cases}.jsonl"
    rng = random.Random(cases)
    ids = [f"{_CATEGORIES[number % 10]}/{number}" for number in range(cases)]
    boxes = [_box(rng) for _ in range(cases)]
    names = [f"<|object_ref_start|>Thing {number}<|object_ref_end|>" for number in range(cases)]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("question_id", "category", "question", "answer")),
            ("image", pa.struct([("bytes", pa.binary())])),
        ]
    )
    with pq.ParquetWriter(benchmark, schema) as writer:
        for first in range(0, cases, 10_000):
            part = range(first, min(first + 10_000, cases))
            columns = {
                "question_id": [ids[n] for n in part],
                "category": [_CATEGORIES[n % 10] for n in part],
                "question": [f"Find and give the bounding box of {names[n]}" for n in part],
                "answer": [
                    f"{names[n]}<|box_start|>({{}},{{}}),({{}},{{}})<|box_end|>".format(*boxes[n]) for n in part
                ],
                "image": [{"bytes": rng.randbytes(picture_bytes)} for _ in part],
            }
            writer.write_table(pa.table(columns, schema), row_group_size=256)
    with predictions.open("w") as file:
        for number in rng.sample(range(cases), cases):
            box = boxes[number] if rng.random() < 0.6 else _box(rng)
            text = _REPLIES[number % len(_REPLIES)].format(f"Thing {number}", *box)
            file.write(json.dumps({"question_id": ids[number], "text": text}) + "\n")
    return benchmark, predictions


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="deepperception-bench-")


def _box(rng: random.Random) -> tuple[int, int, int, int]:
    x1, y1 = rng.randrange(900), rng.randrange(900)
    return x1, y1, rng.randrange(x1 + 1, 1001), rng.randrange(y1 + 1, 1001)


def _child(benchmark: str, predictions: str, out: str) -> None:
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401

    from deepperception.artifacts import Context
    from deepperception.evaluation.run import evaluate_predictions
    from deepperception.progress import Progress

    context = Context(seed=0, progress=Progress("bench"), recipe_hash="", inputs={})
    wall, cpu = time.perf_counter(), time.process_time()
    manifest = evaluate_predictions(Path(benchmark), Path(predictions), Path(out), context)
    told = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    # Not getrusage: that one still knows the peak of the process that forked this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    print(json.dumps({**told, "peak_bytes": peak, "cases": manifest.counts["cases"]}))


if __name__ == "__main__":
    _child(*sys.argv[1:])
