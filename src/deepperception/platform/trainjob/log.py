"""The log of a job's first process, shown by the launcher as it is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from deepperception.errors import DeepPerceptionError
from deepperception.platform.trainjob.cluster import Cluster

_EVERY_S = 3.0
_MARGIN_S = 5


class FirstLog:
    """Follows the first node's pod from its start to its end; a connection that breaks is taken up where it broke.

    A log is for people: where it cannot be read, that is said once, and the job goes on.
    """

    def __init__(self, cluster: Cluster, name: str, write: Callable[[str], None], *, every_s: float = _EVERY_S) -> None:
        self._cluster, self._name, self._write, self._every_s = cluster, name, write, every_s
        self._over = threading.Event()
        self._complained = False
        self._seen, self._seen_at = "", 0.0
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def finish(self, within_s: float) -> None:
        """Have what is left of the log shown, within that time."""
        self._over.set()
        self._thread.join(within_s)

    def _follow(self) -> None:
        while True:
            last = self._over.is_set()
            try:
                self._take_up()
            except DeepPerceptionError as error:
                if not self._complained:
                    self._write(f"the log of the first node cannot be read: {error}")
                self._complained = True
            if last:
                return
            self._over.wait(self._every_s)

    def _take_up(self) -> None:
        first = [node for node in self._cluster.nodes(self._name) if node.index == 0 and node.phase != "Pending"]
        if not first:
            return
        since_s = int(time.monotonic() - self._seen_at) + _MARGIN_S if self._seen else None
        for line in self._cluster.log(first[-1].pod, since_s):
            at, _, text = line.partition(" ")
            if _time(at) <= _time(self._seen):
                continue
            self._seen, self._seen_at = at, time.monotonic()
            self._write(text)


def _time(stamp: str) -> tuple[str, str]:
    """What a log's times are ordered by; they are UTC, and may leave out the noughts of a nanosecond."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return whole, fraction.ljust(9, "0")
