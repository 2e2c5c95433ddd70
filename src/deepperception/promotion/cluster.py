"""What promotion needs of the places where models are served; platform/ implements it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2 in the 0-1000 frame, as a model said them: no Box, for they may be reversed."""
Object = dict[str, Any]
"""An object of Kubernetes, as the API gives and takes it."""


class Cluster(Protocol):
    """A place that can serve a model for as long as a test of it takes."""

    def serving(self, model: Path) -> AbstractContextManager[str]:
        """Serve the checkpoint folder `model` while the block runs; gives the service's URL once it is ready.

        InfrastructureError where it does not become ready.
        """
        ...

    def ask(self, url: str, image: bytes, entity: str) -> Corners | None:
        """Ask the service at `url` for `entity` on an encoded picture: its box, None where it found none.

        InfrastructureError where no prediction comes back; InputError where the service refuses the picture.
        """
        ...

    def metrics(self, url: str) -> str:
        """What the service at `url` tells Prometheus; InfrastructureError where it tells nothing."""
        ...


class Conflict(Exception):
    """The object changed since it was read, or is there already; read it again."""


@dataclass(frozen=True)
class Pod:
    """One server of a revision."""

    name: str
    url: str
    """Empty as long as it has no address."""
    ready: bool
    restarts: int
    trouble: str = ""
    """Why its container does not run: "CrashLoopBackOff: back-off 10s restarting ..."."""
    unschedulable: str = ""
    """Why no node takes it, in the scheduler's words."""


@dataclass(frozen=True)
class Target:
    """The InferenceService that a release works on, and what its pods are to be."""

    namespace: str
    name: str
    runtime: str
    service_account: str
    replicas: int = 1
    standby: bool = False
    image: str | None = None
    """Of the server; None: the runtime's."""
    resources: Object = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[Object] = field(default_factory=list)
    ready_timeout_s: float = 1800.0
    schedule_timeout_s: float = 300.0
    lease_s: float = 30.0
    poll_s: float = 2.0


class ServingCluster(Protocol):
    """The cluster that serves. InfrastructureError where it does not answer, or does not allow it."""

    def read(self, kind: str, name: str) -> Object | None:
        """The InferenceService or Lease of that name; None where there is none."""
        ...

    def create(self, kind: str, content: Object) -> Object:
        """Conflict where there is one already."""
        ...

    def replace(self, kind: str, content: Object) -> Object:
        """Conflict where it is not the version that `content` was read as (its resourceVersion)."""
        ...

    def pods(self, revision: str) -> list[Pod]:
        """The pods of a Deployment of that name."""
        ...

    def no_room(self, resources: Object) -> str | None:
        """Why the namespace's quotas leave no room for one more pod; None where they do, or cannot be read."""
        ...

    def ask(self, url: str, image: bytes, entity: str) -> Corners | None:
        """As Cluster.ask."""
        ...

    def metrics(self, url: str) -> str:
        """As Cluster.metrics."""
        ...
