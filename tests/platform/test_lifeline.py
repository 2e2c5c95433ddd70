"""A run's processes end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepperception.errors import InputError
from deepperception.platform import lifeline

HOLD = "import sys, time; from pathlib import Path; from deepperception.platform import lifeline\n"
RUN = HOLD + "with lifeline.held(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
STEP = HOLD + "lifeline.die_with_run(); print('working', flush=True); time.sleep(60)"
ORPHAN = HOLD + "import os; lifeline.die_with_parent(os.getppid()); print('working', flush=True); time.sleep(60)"
PARENT = (
    "import subprocess, sys, time\n"
    "step = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE)\n"
    "step.stdout.readline(); print(step.pid, flush=True); time.sleep(60)"
)


def start(code: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A Python process, once it has said its first line."""
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | (env or {}))
    assert process.stdout is not None
    process.first_line = process.stdout.readline().strip()  # type: ignore[attr-defined]
    return process


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_step_dies_with_a_killed_run(tmp_path: Path) -> None:
    environment = {lifeline.VARIABLE: str(tmp_path / ".run.lock")}
    with start(RUN, str(tmp_path)) as run, start(STEP, env=environment) as step:
        run.send_signal(signal.SIGKILL)
        assert step.wait(20) != 0


def test_a_step_dies_when_the_run_lets_go(tmp_path: Path) -> None:
    with lifeline.held(tmp_path), start(STEP) as step:
        assert step.poll() is None
        lifeline.let_go()
        assert step.wait(20) != 0


def test_a_second_run_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "_PATIENCE_S", 0.1)
    second = lifeline.held(tmp_path)
    with lifeline.held(tmp_path), pytest.raises(InputError, match="another run is at work here"):
        second.__enter__()
    with lifeline.held(tmp_path):  # and the folder is free again
        pass


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"), lifeline.held(tmp_path / "file" / "run"):
        pytest.fail("held what is not there")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel offers it")
def test_a_process_dies_with_its_parent(comes_true: Callable[..., bool]) -> None:
    with start(PARENT, ORPHAN) as parent:
        child = int(parent.first_line)  # type: ignore[attr-defined]
        assert is_alive(child)
        parent.send_signal(signal.SIGKILL)
        assert comes_true(lambda: not is_alive(child))
