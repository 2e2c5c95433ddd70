"""The Job that brings MLflow's schemas and users up to date, on a database in a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from services.mlflow_server import ENVIRONMENT, MISSING, is_installed

SCRIPT = Path(__file__).resolve().parents[2] / "manifests" / "components" / "mlflow" / "migrate.py"

pytestmark = pytest.mark.mlflow_server


@pytest.fixture
def settings(tmp_path: Path) -> Mapping[str, str]:
    """What the Job gets; the authentication's own file names the database once more."""
    if not is_installed():
        pytest.skip(MISSING)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    ini = tmp_path / "basic_auth.ini"
    ini.write_text(f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {uri}\n")
    return {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "0" * 48,
        "MLFLOW_AUTH_ADMIN_PASSWORD": "a" * 48,
        "MLFLOW_PIPELINES_PASSWORD": "b" * 48,
    }


def migrate(settings: Mapping[str, str]) -> list[str]:
    line = [str(ENVIRONMENT / "bin" / "python"), "-W", "ignore", str(SCRIPT)]
    done = subprocess.run(line, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_empty_database_gets_its_schema_and_users_and_again_nothing(settings: Mapping[str, str]) -> None:
    assert migrate(settings) == ["schema: up to date", "user admin: made", "user pipelines: made"]
    assert migrate(settings) == ["schema: up to date", "user admin: there already", "user pipelines: there already"]


def test_a_new_password_is_set(settings: Mapping[str, str]) -> None:
    migrate(settings)
    assert "user pipelines: new password" in migrate({**settings, "MLFLOW_PIPELINES_PASSWORD": "c" * 48})
