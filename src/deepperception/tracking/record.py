"""A record: all that one stage, or the end of a pipeline, leaves in MLflow.

It is written to a folder before it is sent, with the moment that it is of. MLflow takes the same parameter, the same
tag and the same point of a curve twice without a second trace, so a record may be sent again after any interruption.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

RECORD, FILES = "record.json", "files"
LARGEST_FILE = 32 << 20
"""Bytes. MLflow holds what people look at; weights and datasets are in the store, and their records say where."""
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".parquet")


@dataclass(frozen=True)
class Pipeline:
    """What stands above the stages: found by its key, or begun."""

    key: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    above: Pipeline | None = None
    """Where this is one trial of several: the run that they are all of."""

    @property
    def top(self) -> Pipeline:
        """The run that is below none."""
        return self.above.top if self.above else self

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Pipeline:
        """What `asdict` made of it."""
        above = content.get("above")
        return cls(**{**content, "above": cls.from_dict(above) if above else None})


@dataclass(frozen=True)
class Record:
    """Of a finished stage (kind "stage"), or of the pipeline's end (kind "end"); complete when it is made."""

    kind: Literal["stage", "end"]
    pipeline: Pipeline
    stage: str
    """The step; it may leave several records."""
    name: str
    key: str
    time_ms: int
    """When it was made: also the time of all its points."""
    started_ms: int
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Sequence[Mapping[str, Any]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    attach_to: str | None = None
    """Id of the run that the pipeline's runner began for this step; None where it is ours to begin one."""

    @property
    def place(self) -> str:
        """Where it waits: one place for one key of one pipeline."""
        return hashlib.sha256("\n".join((self.kind, self.pipeline.key, self.key)).encode()).hexdigest()[:16]

    @property
    def id(self) -> str:
        """Tells this record from another one of the same key, by its content."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def points(self) -> Iterator[tuple[str, float, int]]:
        """(name, value, step) of every number, the scores first, at step 0."""
        for row in ({"step": 0, **self.metrics}, *self.curves):
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float):
                    yield name, float(value), int(row.get("step", 0))


def write_record(folder: Path, record: Record, paths: Iterable[Path]) -> None:
    """Write the record and copies of its small files and folders: they may be made anew before it is sent."""
    files = folder / FILES
    files.mkdir(parents=True)
    left_out = []
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_dir():
                continue
            if file.suffix in _WEIGHTS or file.stat().st_size > LARGEST_FILE:
                left_out.append(file.name)
                continue
            copy = files / file.relative_to(path.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    content = asdict(record)
    if left_out:
        content["tags"]["left_out"] = f"too large for MLflow: {', '.join(left_out)}"
    (folder / RECORD).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record:
    """What `write_record` wrote; ValueError, TypeError or OSError where it cannot be understood."""
    content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return Record(**{**content, "pipeline": Pipeline.from_dict(content["pipeline"])})


def files_of(folder: Path) -> list[Path]:
    """The files and folders that go with the record."""
    return sorted((folder / FILES).iterdir())
