"""Running a stage: once for the same inputs, never half, never twice at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepperception.artifacts.disk import discard, is_full, locked, reporting_full_disk, sync
from deepperception.artifacts.manifest import (
    MANIFEST,
    Manifest,
    code_version,
    payload_digest,
    read_manifest,
    release,
    seal,
)
from deepperception.errors import InputError
from deepperception.progress import Progress


@dataclass(frozen=True)
class Context:
    """What every stage is told beside its settings and inputs."""

    seed: int
    progress: Progress
    recipe_hash: str
    inputs: Mapping[str, str]
    """Digest of each input, by name."""


@dataclass(frozen=True)
class Outcome:
    """What a stage says about the files that it wrote; it becomes part of the manifest."""

    counts: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    backend: Mapping[str, Any] = field(default_factory=dict)


def once(
    out: Path,
    *,
    kind: str,
    recipe_hash: str,
    seed: int,
    inputs: Mapping[str, str],
    progress: Progress,
    build: Callable[[Path], Outcome],
    resumes: bool = False,
) -> Manifest:
    """The artifact `out`, built where it is not there yet.

    `build` fills an empty folder beside `out` (`<out>.building`), which takes `out`'s place once it is sealed: `out` is
    always absent or whole, and an older artifact is kept until the new one is finished. An artifact of the same
    recipe, seed, inputs and release is left untouched; what a killed attempt left behind is cleared, and said, unless
    the stage `resumes` by what it keeps elsewhere and says so itself.

    InputError where `out` holds something that no stage of this kind wrote, or where the disk is full.
    """
    wanted = _Key(kind, recipe_hash, seed, dict(inputs))
    building = out.with_name(f"{out.name}.building")
    retired = out.with_name(f"{out.name}.retired")
    with (
        reporting_full_disk(out),
        locked(out.with_name(f".{out.name}.lock"), lambda: progress.say(f"waiting: another process is making {out}")),
    ):
        if _is_sealed(building, wanted):  # killed between the seal and the move
            _move(building, out, retired)
        discard(retired)
        change = wanted.change_from(out)
        if change is None:
            discard(building)
            _say_reusing(out, progress)
            return read_manifest(out)
        if building.exists():
            if not resumes:
                progress.say("restarting: it was cut off")
            discard(building)
        elif change:
            progress.say(f"made again: {change}")
        manifest = _build_and_seal(building, wanted, build)
        _move(building, out, retired)
        return manifest


def is_made(out: Path, *, kind: str, recipe_hash: str, seed: int, inputs: Mapping[str, str]) -> bool:
    """Whether `once` would find the artifact there; InputError as it raises for what no stage of this kind wrote."""
    return _Key(kind, recipe_hash, seed, dict(inputs)).change_from(out) is None


@dataclass(frozen=True)
class _Key:
    """What decides whether an artifact can be used again."""

    kind: str
    recipe_hash: str
    seed: int
    inputs: dict[str, str]

    def change_from(self, out: Path) -> str | None:
        """What differs from the artifact in `out`: None where nothing does, "" where there is no artifact."""
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return ""
        if not (out / MANIFEST).is_file():
            raise InputError(f"{out}: this holds what no stage wrote; empty it, or give another place to write to.")
        there = read_manifest(out)
        if there.kind != self.kind:
            raise InputError(f"{out}: this holds a finished {there.kind}; give another place for the {self.kind}.")
        if there.recipe_hash != self.recipe_hash:
            return "its recipe changed"
        if there.seed != self.seed:
            return f"its seed changed from {there.seed} to {self.seed}"
        if there.inputs != self.inputs:
            names = sorted(n for n in there.inputs | self.inputs if there.inputs.get(n) != self.inputs.get(n))
            return f"its inputs changed ({', '.join(names)})"
        if there.code_version.partition("+")[0] != release():
            return f"release {there.code_version} made it and this is {release()}"
        return None if payload_digest(out) == there.digest else "its files changed after they were written"


def _is_sealed(building: Path, wanted: _Key) -> bool:
    try:
        return (building / MANIFEST).is_file() and wanted.change_from(building) is None
    except InputError:
        return False


def _say_reusing(out: Path, progress: Progress) -> None:
    there, here = read_manifest(out).code_version, code_version()
    # An edit to one stage should not throw away hours of another's work: it is reused, and said.
    progress.say(f"reusing {out}" + ("" if there == here else f" (made by {there}, this is {here})"))


def _build_and_seal(building: Path, wanted: _Key, build: Callable[[Path], Outcome]) -> Manifest:
    building.mkdir(parents=True)
    try:
        outcome = build(building)
        return seal(
            building,
            kind=wanted.kind,
            recipe_hash=wanted.recipe_hash,
            seed=wanted.seed,
            inputs=wanted.inputs,
            counts=outcome.counts,
            metrics=outcome.metrics,
            backend=outcome.backend,
        )
    except Exception as error:
        if is_full(error):
            discard(building)  # other leftovers may explain a failure; these only keep the disk full
        raise


def _move(building: Path, out: Path, retired: Path) -> None:
    """Put the sealed folder in `out`'s place. A kill between the two renames leaves it for the next call to move."""
    discard(retired)
    if out.exists():
        os.rename(out, retired)
    os.rename(building, out)
    sync(out.parent)
    discard(retired)
