"""The command that make calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from deepperception.platform.deploy.__main__ import cli


def test_a_users_error_is_one_sentence_and_exit_code_1(cluster: Any) -> None:
    told = CliRunner().invoke(cli, ["up", f"{cluster.options.overlay.parent}/missing"])
    assert told.exit_code == 1
    assert told.output.count("\n") == 1
    assert "there is no such overlay" in told.output


def test_a_cluster_that_does_not_answer_is_exit_code_3(cluster: Any) -> None:
    cluster.go_away()
    told = CliRunner().invoke(cli, ["up", f"{cluster.options.overlay}/"])
    assert told.exit_code == 3
    assert "error: no cluster answers kubectl" in told.output


def test_up_and_down(cluster: Any) -> None:
    overlay = f"{cluster.options.overlay}/"
    manifests = ["--manifests", str(cluster.options.prerequisites.parent)]
    up = CliRunner().invoke(cli, ["up", overlay, *manifests, "--context", "kind-kind"])
    assert up.exit_code == 0, up.output
    assert all("--context=kind-kind" in call["arguments"] for call in cluster.calls("apply", "get"))
    down = CliRunner().invoke(cli, ["down", overlay, *manifests, "--dry-run"])
    assert down.exit_code == 0, down.output
    assert "kept: volumes, Secrets" in down.output


def test_without_kubectl_it_says_so(cluster: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    told = CliRunner().invoke(cli, ["up", f"{cluster.options.overlay}/"])
    assert (told.exit_code, told.output) == (
        1,
        "error: kubectl is not on the PATH; install it (version 1.31 or newer) and try again.\n",
    )
