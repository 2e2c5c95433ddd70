"""A release in a process of its own, that kills itself at a side effect of a test's choice.

Side effects are what others see: the InferenceService, the record on the Lease, and the registry's aliases and tags. A
Lease that is only renewed is none. SIGKILL leaves no time for anything, as a node that loses its power does.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.errors import DeepPerceptionError
from deepperception.platform.serving_cluster import KubernetesCluster
from deepperception.progress import Progress
from deepperception.promotion import Release, Target
from deepperception.promotion.config import PromotionConfig
from deepperception.promotion.golden import Golden
from deepperception.promotion.journal import RECORD, Journal
from deepperception.promotion.rollout import go_back, roll_out
from deepperception.tracking import Tracker, Version


@dataclass(frozen=True)
class Task:
    """What the process is to do, and where it dies."""

    kubeconfig: Path
    tracking_uri: str
    target: Target
    config: PromotionConfig
    pictures: list[Golden]
    candidate: Version
    champion: Version
    back: bool = False
    """Roll back instead."""
    kill: tuple[int, str] | None = None
    """(n, "before" | "after"): at its n-th side effect, from 1."""


def perform(task: Task, told: Path) -> None:
    """Leaves in `told` how it ended, if it comes to an end."""
    os.environ["KUBECONFIG"] = str(task.kubeconfig)
    progress = Progress("release", io.StringIO())
    tracker = Tracker(task.tracking_uri, "tests", patience_s=60)
    cluster = KubernetesCluster(task.target.namespace)
    if task.kill:
        _arm(cluster, tracker, *task.kill)
    release = Release(
        cluster, task.target, tracker, task.config, progress, Journal(cluster, task.target, progress), task.pictures
    )
    try:
        record = go_back(release) if task.back else roll_out(release, task.candidate, task.champion, "the same release")
        told.write_text(record.state.value)
    except DeepPerceptionError as error:
        told.write_text(f"{type(error).__name__}: {error}")


def _arm(cluster: Any, tracker: Any, number: int, when: str) -> None:
    done = 0

    def deadly(original: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
        def method(*args: Any) -> Any:
            nonlocal done
            if not counts(*args):
                return original(*args)
            done += 1
            if done == number and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args)
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return method

    def is_seen(kind: str, content: dict[str, Any]) -> bool:
        if kind != "Lease":
            return True
        record = content["metadata"].get("annotations", {}).get(RECORD, "")
        lease = cluster_read("Lease", content["metadata"]["name"])
        return bool(record) and record != ((lease or {}).get("metadata", {}).get("annotations") or {}).get(RECORD)

    cluster_read = cluster.read
    for name in ("create", "replace"):
        setattr(cluster, name, deadly(getattr(cluster, name), is_seen))
    for name in ("set_alias", "delete_alias"):
        setattr(tracker, name, deadly(getattr(tracker, name), lambda *_: True))
