"""What there is: runs, their finished stages, and the served version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from deepperception.artifacts.manifest import MANIFEST, Manifest, read_manifest
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.platform.summary import SUMMARY
from deepperception.platform.workplace import BORROWED, TRIALS


def of_runs(root: Path) -> Iterator[str]:
    """One line for each run below `root`."""
    runs = sorted(path.parent for path in root.glob("*/logs") if path.is_dir())
    if not runs:
        yield f"{root}: no runs here; start one with `deepperception run RECIPE`."
    for run in runs:
        summary = run / SUMMARY
        if not summary.is_file():
            yield f"{run}: not finished"
            continue
        told = json.loads(summary.read_text(encoding="utf-8"))
        scores = ", ".join(f"{arm} {scores['all']['accuracy']:.3f}" for arm, scores in told["stages"].items())
        version = told["promoted"]["version"]
        yield f"{run}: {told['recipe']}, seed {told['seed']}; {scores}; version {version} is champion"


def of_run(infra: Infra, run: Path) -> Iterator[str]:
    """The finished stages of one run, and the registry's champion; InputError where there is no run."""
    from deepperception.promotion import CHAMPION, PREVIOUS
    from deepperception.tracking import MODEL, Tracker, is_there

    if not infra.work_dir.is_dir():
        raise InputError(f"{run}: there is no run here; give the folder that `deepperception run --out` wrote to.")
    for name, manifest in finished_stages(infra.work_dir).items():
        scores = ", ".join(f"{key} {value:.3g}" for key, value in manifest.metrics.items() if isinstance(value, float))
        yield f"{name}: {manifest.kind} {manifest.digest[:19]} {scores}".rstrip()
    if not is_there(infra.tracking_uri):
        return
    tracker = Tracker(infra.tracking_uri, infra.experiment, create=False, patience_s=0)
    for alias, share in ((CHAMPION, "100 % of the requests"), (PREVIOUS, "kept for a rollback")):
        if version := tracker.alias(MODEL, alias):
            yield f"{alias}: version {version.number}, {version.tags.get('arm', '?')}, {version.digest[:19]}, {share}"


def finished_stages(work_dir: Path) -> dict[str, Manifest]:
    """Name -> manifest of every finished artifact, oldest first; a trial's is named by its path."""
    found = [*work_dir.glob(f"*/{MANIFEST}"), *work_dir.glob(f"{TRIALS}/*/*/{MANIFEST}")]
    manifests = sorted(found, key=lambda path: (path.stat().st_mtime_ns, str(path)))
    stages = (path.parent for path in manifests if path.parent.suffix not in (".building", ".retired", BORROWED))
    return {folder.relative_to(work_dir).as_posix(): read_manifest(folder) for folder in stages}
