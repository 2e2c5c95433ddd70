"""The model server as a subprocess."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepperception.errors import InfrastructureError
from deepperception.platform.local_server import LocalServer


def test_a_server_that_ends_early_leaves_its_last_word(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"ended before it was ready: error: .*no config.json"):
        LocalServer().serving(tmp_path).__enter__()
