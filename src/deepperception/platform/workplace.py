"""What the stages of a run share: its two files, the store, the record, and where to write."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from deepperception.artifacts.curves import read_curves
from deepperception.artifacts.manifest import Manifest, read_manifest
from deepperception.artifacts.stage import Context
from deepperception.artifacts.store import Ref, open_store
from deepperception.infra import Infra
from deepperception.platform import origin
from deepperception.platform.console import MarkedLines
from deepperception.progress import Progress
from deepperception.recipe import Recipe
from deepperception.tracking import Pipeline, Recorder, Tracker

Metadata = dict[str, Any]
"""Of a pipeline artifact: "uri" and "digest" in the store, "run_id" in MLflow ("" where not known yet), its scores."""


class Workplace:
    """One step's view of a run."""

    def __init__(
        self, stage: str, recipe: Recipe, infra: Infra, inputs: Mapping[str, Metadata], progress: Progress | None = None
    ) -> None:
        self.stage, self.recipe, self.infra, self.inputs = stage, recipe, infra, inputs
        self.progress = progress or Progress(stage, MarkedLines(sys.stderr))
        self.evidence: list[Path] = []
        """Files that are recorded beside the artifact's own: how it was made, which is no part of what was made."""
        self.store = open_store(infra.store, infra.s3, self.progress)
        self._started = time.monotonic()

    @cached_property
    def records(self) -> Recorder:
        """What this step writes into MLflow; one pipeline for a recipe and a seed, however often it is run."""
        infra, key = self.infra, pipeline_key(self.recipe)
        tags = {"recipe": self.recipe.name, "recipe_hash": f"sha256:{key}", **origin.of_this_process()}
        pipeline = Pipeline(key, self.recipe.name, json.loads(self.recipe.to_json()), tags)
        return Recorder(infra.tracking_uri, infra.experiment, infra.work_dir, pipeline, self.stage, self.progress.say)

    @property
    def tracker(self) -> Tracker:
        return self.records.tracker

    @cached_property
    def run_id(self) -> str:
        """Of the pipeline's run in MLflow; waits for a server that is away."""
        return self.records.pipeline_run()

    def begin(self) -> None:
        """Before the work: see that the record would be taken."""
        self.records.greet()

    def folder(self, name: str) -> Path:
        """Where the artifact `name` is made, and found again by the next attempt."""
        return self.infra.work_dir / name

    def fetch(self, name: str) -> Path:
        """The input artifact's folder, verified."""
        return self.store.get(reference(self.inputs[name]))

    def context(self, *sections: str) -> Context:
        """For a stage that reads the named sections of the recipe, and all inputs of the step."""
        digests = {name: metadata["digest"] for name, metadata in self.inputs.items() if "digest" in metadata}
        return Context(self.recipe.seed, self.progress, self.recipe.section_hash(*sections), digests)

    def keep(
        self, name: str, folder: Path, *, params: Mapping[str, Any] | None = None, files: Sequence[str] = ()
    ) -> Metadata:
        """Put a finished artifact into the store and on the record, with `files` of it; both happen once."""
        manifest = read_manifest(folder)
        kept = self.store.put(folder)
        scores = {key: value for key, value in manifest.metrics.items() if isinstance(value, int | float)}
        run_id = self.records.stage_run(
            name,
            f"{name} {manifest.digest}",
            params=params,
            metrics={**scores, **_counted(manifest), "wall_s": self.elapsed_s},
            curves=read_curves(folder),
            files=[*(folder / file for file in files), *self.evidence],
            tags={"uri": kept.uri, "digest": kept.digest, **origin.of_artifact(manifest, self.inputs)},
        )
        return {"uri": kept.uri, "digest": kept.digest, "run_id": run_id or "", **scores}

    @property
    def elapsed_s(self) -> float:
        """Since the step began."""
        return time.monotonic() - self._started


def pipeline_key(recipe: Recipe) -> str:
    """What the record of a recipe and a seed is found by."""
    return hashlib.sha256(recipe.to_json().encode()).hexdigest()


def reference(metadata: Metadata) -> Ref:
    """What the store knows the artifact by."""
    return Ref(metadata["uri"], metadata["digest"])


def _counted(manifest: Manifest) -> dict[str, float]:
    return {key: value for key, value in manifest.counts.items() if isinstance(value, int | float)}
