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
from deepperception.search.trials import TRIAL, Trial
from deepperception.tracking import Pipeline, Recorder, Tracker

TRIALS = "trials"
"""Folder of a search's trials, each with a folder of its name."""
BORROWED = ".borrowed"
"""Ends the name of a folder that is being copied from another trial."""
Metadata = dict[str, Any]
"""Of a pipeline artifact: "uri" and "digest" in the store, "run_id" in MLflow ("" where not known yet), its scores."""


class Workplace:
    """One step's view of a run."""

    def __init__(
        self, stage: str, recipe: Recipe, infra: Infra, inputs: Mapping[str, Metadata], progress: Progress | None = None
    ) -> None:
        self.stage, self.whole, self.infra, self.given = stage, recipe, infra, inputs
        self.inputs = {name: given for name, given in inputs.items() if name != TRIAL}
        self.trial = Trial(**inputs[TRIAL]) if TRIAL in inputs else None
        """Of a search; its artifacts lie apart, for its siblings' have the same names."""
        self.recipe = self.trial.applied(recipe) if self.trial else recipe
        label = f"{self.trial.name} {stage}" if self.trial else stage
        self.progress = progress or Progress(label, MarkedLines(sys.stderr))
        self.evidence: list[Path] = []
        """Files that are recorded beside the artifact's own: how it was made, which is no part of what was made."""
        self.store = open_store(infra.store, infra.s3, self.progress)
        self._started = time.monotonic()

    @cached_property
    def records(self) -> Recorder:
        """What this step writes into MLflow; one pipeline for a recipe and a seed, however often it is run."""
        infra, pipeline = self.infra, record_of(self.whole, self.trial)
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
        return folder_of(self.infra, self.trial) / name

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


def record_of(recipe: Recipe, trial: Trial | None = None) -> Pipeline:
    """What stands above the stages in MLflow: the recipe's own run or, below it, that of a trial."""
    key = pipeline_key(recipe)
    tags = {"recipe": recipe.name, "recipe_hash": f"sha256:{key}", **origin.of_this_process()}
    whole = Pipeline(key, recipe.name, json.loads(recipe.to_json()), tags)
    if trial is None:
        return whole
    own = hashlib.sha256(f"{key} {trial.to_json()}".encode()).hexdigest()
    return Pipeline(own, trial.name, {"seed": trial.seed, **trial.settings}, {**tags, "trial": trial.name}, whole)


def folder_of(infra: Infra, trial: Trial | None) -> Path:
    """Where the artifacts of a run are made, or those of one of its trials."""
    return infra.work_dir / TRIALS / trial.name if trial else infra.work_dir


def reference(metadata: Metadata) -> Ref:
    """What the store knows the artifact by."""
    return Ref(metadata["uri"], metadata["digest"])


def _counted(manifest: Manifest) -> dict[str, float]:
    return {key: value for key, value in manifest.counts.items() if isinstance(value, int | float)}
