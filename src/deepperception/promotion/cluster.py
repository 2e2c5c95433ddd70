"""What a release needs of the place where models are served; platform/ implements it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2 in the 0-1000 frame, as a model said them: no Box, for they may be reversed."""


class Cluster(Protocol):
    """A place that can serve a model."""

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
