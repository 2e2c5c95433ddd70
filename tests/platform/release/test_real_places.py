"""The same release with the real things around it: MLflow's server, and this project's own model server."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from services import mlflow_server

from deepperception.grounding import Box
from deepperception.promotion.golden import Golden
from deepperception.promotion.journal import State

if TYPE_CHECKING:
    from tests.platform.release.conftest import World


@pytest.mark.mlflow_server
class TestMlflowServer:
    @pytest.fixture
    def tracking_uri(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """In the place of the database."""
        if not mlflow_server.is_installed():
            pytest.skip(mlflow_server.MISSING)
        server = mlflow_server.MlflowServer(tmp_path / "server")
        for name, value in server.credentials().items():
            monkeypatch.setenv(name, value)
        server.start()
        try:
            yield server.url
        finally:
            server.kill()

    def test_there_and_back(self, serving: World) -> None:
        with serving.traffic(clients=1) as traffic:
            assert serving.roll_out().state is State.RELEASED
            assert serving.aliases() == {"champion": 2, "previous": 1, "candidate": None}
            serving.roll_back()
        assert serving.aliases() == {"champion": 1, "previous": None, "candidate": None}
        assert serving.serving() == {1: 100}
        assert traffic.failed == 0, traffic.statuses


class TestOwnServer:
    @pytest.fixture
    def models(self, tmp_path: Path, random_checkpoint: Path) -> list[Path]:
        """Two tiny checkpoints that load, alike but for a note."""
        folders = [tmp_path / name for name in ("base", "better")]
        for folder in folders:
            shutil.copytree(random_checkpoint, folder)
            (folder / "note.txt").write_text(folder.name)
        return folders

    @pytest.fixture
    def world(self, world: World, tmp_path: Path) -> World:
        """Each revision is `deepperception serve`."""
        pytest.importorskip("kserve", reason="the extra 'serve' is not installed")
        pytest.importorskip("deepperception.serving.metrics", reason="this server counts no boxes: nothing to guard by")

        def command(uri: str, port: int, behaviour: dict[str, Any]) -> list[str]:
            serve = [sys.executable, "-m", "deepperception.cli", "serve", "--port", str(port)]
            return [*serve, "--model", urlsplit(uri).path.rstrip("/")]

        world.revisions.command = command
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), "seagreen").save(buffer, "PNG")
        picture = {"b64": base64.b64encode(buffer.getvalue()).decode()}
        world.request = json.dumps({"instances": [{"image": picture, "entity": "wren"}]}).encode()
        world.pictures = [Golden("wren", buffer.getvalue(), "wren", Box(100, 100, 300, 300))]
        # Random weights find nothing, and a busy machine answers slowly now and then.
        release = world.config.release.model_copy(
            update={"steps": (50, 100), "min_requests": 4, "max_latency_ratio": 50.0, "step_timeout_s": 300.0}
        )
        world.config = world.config.model_copy(update={"golden_share": 0.0, "release": release})
        world.target = replace(world.target, ready_timeout_s=300.0, lease_s=10.0)
        return world

    def test_a_full_canary_and_back(self, serving: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
        with serving.traffic(clients=2) as traffic:
            record = serving.roll_out()
            assert record.state is State.RELEASED
            assert serving.serving() == {2: 100}
            serving.roll_back()
        assert serving.serving() == {1: 100}
        assert serving.aliases() == {"champion": 1, "previous": None, "candidate": None}
        assert traffic.failed == 0, traffic.statuses
        assert "canary: " in record.notes[-2]["note"] and "p95" in record.notes[-2]["note"]
