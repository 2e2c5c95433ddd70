"""Care for a registry and a store that runs have filled: the way back, and the rubbish."""

from __future__ import annotations

from collections.abc import Iterator

from deepperception.artifacts import Store, open_store
from deepperception.errors import InputError
from deepperception.infra import Infra
from deepperception.platform.local_server import LocalServer
from deepperception.platform.status import finished_stages
from deepperception.progress import Progress
from deepperception.promotion import PREVIOUS, current, rollback
from deepperception.tracking import MODEL, Tracker


def roll_back(infra: Infra, progress: Progress, *, dry_run: bool) -> str:
    """Make the previous version champion again; returns what is (or would be) so."""
    tracker, store = _opened(infra)
    if not dry_run:
        version = rollback(tracker=tracker, store=store, cluster=LocalServer(), progress=progress)
        return f"champion: version {version.number} ({version.digest})"
    previous = tracker.alias(MODEL, PREVIOUS)
    back = f"it would go back to version {previous.number}" if previous else "there is no version to go back to"
    return f"champion: version {current(tracker).number}; {back}"


def sweep(infra: Infra, *, dry_run: bool) -> Iterator[str]:
    """Remove what no registered version, none of their evidence and no finished stage is; a line for each."""
    tracker, store = _opened(infra)
    versions = tracker.versions(MODEL)
    keep = {version.digest for version in versions} | {version.tags.get("evidence", "") for version in versions}
    keep |= {manifest.digest for manifest in finished_stages(infra.work_dir).values()}
    swept = store.sweep(keep, dry_run=dry_run)
    for entry in swept:
        yield f"{entry.digest}  {entry.size / 1e6:,.1f} MB"
    yield f"{len(swept)} artifacts {'would be ' if dry_run else ''}removed"


def _opened(infra: Infra) -> tuple[Tracker, Store]:
    """Registry and store, which must exist."""
    # Without it, a sweep would not see what the finished stages need.
    if not infra.work_dir.is_dir():
        raise InputError(f"{infra.work_dir}: there is no such folder; give the folder of a run with --out.")
    return Tracker(infra.tracking_uri, infra.experiment, create=False), open_store(infra.store)
