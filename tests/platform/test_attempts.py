"""What a retried step knows of the attempt before."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from deepperception.errors import GateRefused, InfrastructureError, InputError, Preempted
from deepperception.infra import Infra
from deepperception.platform import attempts, stages, steps


class Stage:
    """Fails with what it is given, and counts how often it was tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tries, self.error = 0, Exception()
        monkeypatch.setattr(stages, "execute", self)

    def __call__(self, **_: Any) -> dict[str, Any]:
        self.tries += 1
        if self.error:
            raise self.error
        return {}

    def attempt(self, infra: Infra, error: Exception | None) -> int:
        """The exit code of one attempt."""
        self.error = error  # type: ignore[assignment]
        try:
            steps.run_step("grpo", "{}", infra.to_json(), 7, outputs={})
        except SystemExit as left:
            return int(left.code or 0)
        return 0


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


@pytest.mark.parametrize(
    ("error", "code", "tries", "why"),
    [
        (InputError("a photo is damaged."), 1, 1, "only the user can mend it"),
        (GateRefused("not better."), 4, 1, "the evidence stays what it is"),
        (InfrastructureError("MLflow is away."), 3, 2, "it may be back"),
        (Preempted("stopped."), 75, 2, "this is what retries are for"),
        (ValueError("odd"), 3, 2, "a bug, or a machine's fault"),
    ],
)
def test_only_what_may_go_better_is_tried_again(
    stage: Stage,
    infra: Infra,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    tries: int,
    why: str,
) -> None:
    monkeypatch.setenv(attempts.RUN, "run-1")
    assert stage.attempt(infra, error) == code
    first = capsys.readouterr().err.splitlines()[-1]
    assert stage.attempt(infra, error) == code
    assert capsys.readouterr().err.splitlines()[-1] == first
    assert stage.tries == tries, why


def test_a_new_run_tries_anew(stage: Stage, infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(attempts.RUN, "run-1")
    assert stage.attempt(infra, InputError("a photo is damaged.")) == 1
    monkeypatch.setenv(attempts.RUN, "run-2")
    assert stage.attempt(infra, None) == 0
    monkeypatch.setenv(attempts.RUN, "run-1")
    assert attempts.failures(infra.work_dir) == {}, "the stage came through"


def test_a_laptop_tries_every_time(stage: Stage, infra: Infra) -> None:
    for _ in range(2):
        assert stage.attempt(infra, InputError("a photo is damaged.")) == 1
    assert stage.tries == 2


def test_another_stage_is_not_held_back(stage: Stage, infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(attempts.RUN, "run-1")
    assert stage.attempt(infra, InputError("a photo is damaged.")) == 1
    assert attempts.settled(infra.work_dir, "sft") is None


def test_a_volume_that_is_full_hides_no_error(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(attempts.RUN, "run-1")
    (tmp_path / "failures").write_text("in the way")
    attempts.remember(tmp_path, "grpo", {"exit_code": 1, "message": "a sentence."})
    assert attempts.settled(tmp_path, "grpo") is None


def test_a_pod_that_is_told_to_go_exits_as_preempted(
    infra: Infra, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(**_: Any) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(stages, "execute", execute)
    monkeypatch.setenv(attempts.RUN, "run-1")
    with pytest.raises(SystemExit) as left:
        steps.run_step("grpo", "{}", infra.to_json(), 7, outputs={})
    assert left.value.code == 75
    assert "told to stop" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
