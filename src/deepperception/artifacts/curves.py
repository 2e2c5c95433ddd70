"""Training curves: rows such as `{"step": 20, "loss": 0.31}`, which travel with the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CURVES = Path("evidence", "curves.jsonl")


def write_curves(folder: Path, curves: Sequence[dict[str, Any]]) -> None:
    """Write the curves of the checkpoint that is being made in `folder`."""
    path = folder / CURVES
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(point, sort_keys=True) + "\n" for point in curves), encoding="utf-8")


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """The curves of a checkpoint; none where it has none (a base, an import)."""
    path = folder / CURVES
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
