"""Care for a registry and a store that runs have filled: the way back, and the rubbish."""

from __future__ import annotations

import time
from collections.abc import Iterator

from deepperception.artifacts import Store, open_store
from deepperception.artifacts.ref import DAY_S
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.platform.local_server import LocalServer
from deepperception.platform.release import foreseen_back, open_release, taken_back
from deepperception.platform.status import finished_stages
from deepperception.progress import Progress
from deepperception.promotion import PREVIOUS, current, rollback
from deepperception.promotion.config import PromotionConfig
from deepperception.tracking import MODEL, Tracker


def roll_back(infra: Infra, progress: Progress, *, dry_run: bool) -> str:
    """Make the previous version champion again; returns what is (or would be) so."""
    tracker, store = _opened(infra, progress)
    if release := open_release(infra, PromotionConfig(), tracker, progress):
        if dry_run:
            return foreseen_back(release)
        version = taken_back(release)
        return f"champion: version {version.number} ({version.digest}), served by {release.target.name}"
    if not dry_run:
        version = rollback(tracker=tracker, store=store, cluster=LocalServer(), progress=progress)
        return f"champion: version {version.number} ({version.digest})"
    previous = tracker.alias(MODEL, PREVIOUS)
    back = f"it would go back to version {previous.number}" if previous else "there is no version to go back to"
    return f"champion: version {current(tracker).number}; {back}"


def sweep(infra: Infra, *, days: int, dry_run: bool) -> Iterator[str]:
    """Remove what is `days` old and neither a registered version, nor its evidence, nor of a run of these days, nor a
    finished stage; and leftovers of puts that were cut off. A line for each."""
    tracker, store = _opened(infra, Progress("gc"))
    # An artifact is put before it is on record, and a record may come late: its own age protects it meanwhile.
    min_age_s = days * DAY_S
    keep = tracker.referenced(since_s=time.time() - min_age_s)
    keep |= {manifest.digest for manifest in finished_stages(infra.work_dir).values()}
    swept = store.sweep(keep, dry_run=dry_run, min_age_s=min_age_s)
    for entry in swept:
        yield f"{entry.digest}  {entry.size / 1e6:,.1f} MB  {entry.what}"
    total_mb, removed = sum(entry.size for entry in swept) / 1e6, "would be removed" if dry_run else "removed"
    yield f"{len(swept)} {removed}, {total_mb:,.1f} MB; {len(keep)} artifacts are referred to"


def _opened(infra: Infra, progress: Progress) -> tuple[Tracker, Store]:
    """Registry and store, which must exist."""
    # Without it, a sweep would not see what the finished stages need. A cluster's is on the cluster: there, the runs
    # tell.
    if infra.runner != "kubeflow" and not infra.work_dir.is_dir():
        raise InputError(f"{infra.work_dir}: there is no such folder; give the folder of a run with --out.")
    tracker = Tracker(infra.tracking_uri, infra.experiment, create=False, say=progress.say)
    return tracker, open_store(infra.store, infra.s3, progress)
