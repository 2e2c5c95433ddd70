"""One attempt at a step, and what the attempts of a cluster's run know of each other.

Kubeflow Pipelines 2.17 compiles `set_retry` to a limit and a back-off, and lets nobody say which exit codes are worth
another attempt: Argo then tries again after any. So a step whose error only the user can mend leaves word in the run's
work folder, and the next attempt of the same run says the same at once, before a model is loaded. A new run tries anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from deepperception import errors
from deepperception.artifacts.disk import write_text
from deepperception.errors import DeepPerceptionError, GateRefused, InfrastructureError, InputError, Preempted

RUN = "DEEPPERCEPTION_RUN"
"""Environment variable of a pod: names the pipeline run that it is of. Not set outside of a cluster."""
_FOLDER = "failures"
# Another attempt would come to the same end.
_FINAL = (InputError.exit_code, GateRefused.exit_code)


def attempt(call: str, run: Callable[..., Any] | None = None) -> dict[str, Any]:
    """Run the call here: {"outputs"}, or {"error": type, "message", "exit_code"}; a traceback goes to the log only.

    `run` takes the place of `stages.execute`.
    """
    from deepperception.platform import stages

    try:
        with stoppable():
            return {"outputs": (run or stages.execute)(**json.loads(call))}
    except DeepPerceptionError as error:
        known = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
        return {"error": known, "message": str(error), "exit_code": error.exit_code}
    except Exception as error:
        traceback.print_exc()
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return {"error": "Exception", "message": what, "exit_code": InfrastructureError.exit_code}


def settled(work_dir: Path, stage: str) -> dict[str, Any] | None:
    """What an earlier attempt of this run failed with for good; None where there was none."""
    told = last_failure(work_dir, stage)
    run = os.environ.get(RUN)
    return told["reply"] if run and told and told["run"] == run and told["reply"]["exit_code"] in _FINAL else None


def remember(work_dir: Path, stage: str, reply: dict[str, Any]) -> None:
    """Leave word of a failed attempt, on a cluster."""
    if run := os.environ.get(RUN):
        with contextlib.suppress(OSError):  # a full or absent volume costs a needless attempt, and the error is told
            write_text(_path(work_dir, stage), json.dumps({"run": run, "reply": reply}, indent=2) + "\n")


def forget(work_dir: Path, stage: str) -> None:
    """The stage came through."""
    _path(work_dir, stage).unlink(missing_ok=True)


def last_failure(work_dir: Path, stage: str) -> dict[str, Any] | None:
    """{"run", "reply"} of the stage's last failed attempt, whatever its run."""
    path = _path(work_dir, stage)
    if not path.is_file():
        return None
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


def failures(work_dir: Path) -> dict[str, dict[str, Any]]:
    """Stage -> reply of every attempt that failed in this run."""
    run = os.environ.get(RUN)
    stages = sorted(path.stem for path in (work_dir / _FOLDER).glob("*.json"))
    known = {stage: last_failure(work_dir, stage) for stage in stages}
    return {stage: told["reply"] for stage, told in known.items() if told and told["run"] == run}


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """On a cluster, have SIGTERM, by which a pod is told to go, unwind the block as Preempted (exit code 75)."""
    if RUN not in os.environ:
        yield
        return

    def stop(*_: Any) -> NoReturn:
        raise KeyboardInterrupt  # passes the `except Exception` of libraries; an error of our own would not

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise Preempted("the pod was told to stop; the next attempt goes on from what is finished.") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _path(work_dir: Path, stage: str) -> Path:
    return work_dir / _FOLDER / f"{stage}.json"
