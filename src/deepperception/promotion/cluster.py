"""What a release needs of the place where models are served; platform/ implements it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Cluster(Protocol):
    """A place that can serve a model."""

    def serving(self, model: Path) -> AbstractContextManager[str]:
        """Serve the checkpoint folder `model` while the block runs; gives the service's URL once it is ready.

        InfrastructureError where it does not become ready.
        """
        ...
