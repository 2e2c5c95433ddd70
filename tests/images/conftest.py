"""The built images."""

from __future__ import annotations

import pytest
from docker_engine import Docker

from .containers import Built, built


@pytest.fixture(params=["trainer", "server", "tracking"])
def image(request: pytest.FixtureRequest, docker: Docker) -> Built:
    return built(docker, request.param)


@pytest.fixture(params=["trainer", "server"])
def own_image(request: pytest.FixtureRequest, docker: Docker) -> Built:
    """One with the command `deepperception` in it."""
    return built(docker, request.param)


@pytest.fixture
def trainer_image(docker: Docker) -> Built:
    return built(docker, "trainer")


@pytest.fixture
def server_image(docker: Docker) -> Built:
    return built(docker, "server")


@pytest.fixture
def tracking_image(docker: Docker) -> Built:
    return built(docker, "tracking")
