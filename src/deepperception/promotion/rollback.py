"""The way back where no cluster serves: the previous version becomes champion again."""

from __future__ import annotations

from deepperception.artifacts import Ref, Store
from deepperception.errors import InputError
from deepperception.progress import Progress
from deepperception.promotion.cluster import Cluster
from deepperception.promotion.registry import CHAMPION, PREVIOUS, current, settle
from deepperception.tracking import MODEL, Tracker, Version


def rollback(*, tracker: Tracker, store: Store, cluster: Cluster, progress: Progress) -> Version:
    """Give the champion's place back to the version before it, once that one is shown to load; returns it.

    There is one step back: afterwards no version is "previous". InputError where there is none to go back to.
    """
    champion, previous = current(tracker), tracker.alias(MODEL, PREVIOUS)
    if previous is None:
        raise InputError(
            f"{tracker.uri}: there is no version before {champion.number} to go back to; promote one instead."
        )
    if previous.number != champion.number:  # equal where a kill came between the two aliases
        progress.say(f"serving version {previous.number} to see that it loads")
        with cluster.serving(store.get(Ref(previous.uri, previous.digest))):
            pass
    settle(tracker, {CHAMPION: previous.number, PREVIOUS: None})
    progress.say(f"version {previous.number} is champion again")
    return previous
