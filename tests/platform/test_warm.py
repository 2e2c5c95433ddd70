"""Steps that run in a fork of the warm process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepperception.artifacts.disk import locked
from deepperception.infra import Infra
from deepperception.platform import lifeline, warm
from deepperception.recipe import Recipe

Waits = Callable[[Callable[[], object]], bool]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[None]:
    """A worker without the heavy imports."""
    with warm.worker(tmp_path / "worker.log", heavy=()):
        yield


def call(stage: str, recipe: Recipe, infra: Infra) -> str:
    content = {"stage": stage, "recipe": recipe.to_json(), "infra": infra.to_json(), "seed": 0, "inputs": {}}
    return json.dumps(content)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def is_worker(pid: int) -> bool:
    """Other tests' servers may be children of this process as well."""
    return warm.__name__ in Path(f"/proc/{pid}/cmdline").read_text()


def forks() -> list[int]:
    return [fork for child in children(os.getpid()) if is_worker(child) for fork in children(child)]


@pytest.mark.usefixtures("worker")
def test_a_fork_answers_and_prints_where_the_step_would(
    recipe: Recipe, infra: Infra, capfd: pytest.CaptureFixture[str]
) -> None:
    reply = warm.ask(call("synthesis", recipe, infra))
    assert reply is not None
    assert reply["error"] == "InputError"
    assert "2.jpg" in reply["message"]
    assert "synthesis: started" in capfd.readouterr().err


@pytest.mark.usefixtures("worker")
def test_one_fork_a_step(recipe: Recipe, infra: Infra) -> None:
    """The worker survives its forks, whatever becomes of them."""
    for stage, error in (("synthesis", "InputError"), ("no such stage", "Exception"), ("synthesis", "InputError")):
        reply = warm.ask(call(stage, recipe, infra))
        assert reply is not None
        assert reply["error"] == error


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the fork by /proc")
@pytest.mark.parametrize("ends", ["the fork", "the run"])
def test_a_step_without_an_answer_is_an_error(
    tmp_path: Path, recipe: Recipe, infra: Infra, comes_true: Waits, ends: str
) -> None:
    blocked = infra.work_dir / ".base.lock"  # the step waits for it
    with (
        ThreadPoolExecutor(1) as pool,
        lifeline.held(tmp_path),
        warm.worker(tmp_path / "worker.log", heavy=()),
        locked(blocked, lambda: None),
    ):
        asked = pool.submit(warm.ask, call("base", recipe, infra))
        assert comes_true(forks)
        if ends == "the fork":
            os.kill(forks()[0], signal.SIGKILL)
        else:
            lifeline.let_go()
        reply = asked.result(60)
    assert reply is not None
    assert reply["error"] == "InfrastructureError"
    assert "killed" in reply["message"]


@pytest.mark.parametrize("address", [None, "/tmp/no-such-folder/steps"])
def test_without_a_worker_the_step_does_it_itself(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    if address is not None:
        monkeypatch.setenv(warm.VARIABLE, address)
    assert warm.ask("{}") is None
