"""Runs the whole pipeline on this machine, through KFP's local runner."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from deepperception.artifacts import check_checkpoint, resolve
from deepperception.errors import InputError, Preempted
from deepperception.infra import Infra
from deepperception.platform import docker_runner, images, lifeline, steps, warm
from deepperception.platform.console import Screen
from deepperception.platform.packages import pipeline, whole_flow
from deepperception.platform.summary import summarize
from deepperception.platform.workplace import pipeline_key
from deepperception.recipe import Recipe
from deepperception.synthesis.sources import open_source
from deepperception.tracking import Tracker, send_waiting

# Nothing of a run may depend on the network: its models are folders.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


def run_pipeline(recipe: Recipe, infra: Infra, out: Path) -> dict[str, Any]:
    """Run all stages that are not finished in `out`, and write and return `out`/summary.json.

    What a person should see goes to standard error; everything that the steps print is in `out`/logs/run.log.
    The error of the stage that failed is raised here, by its type; Preempted where the process was told to stop.
    """
    if infra.runner == "kubeflow":
        raise InputError(f"runner: '{infra.runner}' is not for here; submit the recipe, or give another infra file.")
    check_checkpoint(resolve(recipe.model.base, s3=infra.s3))
    open_source(recipe.synthesis.source, recipe.seed)
    started = time.monotonic()
    log_path = out / "logs" / "run.log"
    with _stoppable(), lifeline.held(out):
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("a", encoding="utf-8") as log, _steps_at_hand(infra, log_path.with_name("worker.log")):
            screen = Screen(log, sys.stderr)
            screen.say(f"recipe {recipe.name}, seed {recipe.seed}; full log in {log_path}")
            with _recorded(recipe, infra):
                _run_steps(recipe, infra, out, screen, log_path)
                send_waiting(infra.tracking_uri, infra.experiment, infra.work_dir, screen.say)
                return summarize(recipe, infra, out, screen.say, started)


def _run_steps(recipe: Recipe, infra: Infra, out: Path, screen: Screen, log: Path) -> None:
    from kfp import local

    failure = infra.work_dir / steps.FAILURE
    failure.unlink(missing_ok=True)
    references = out / "kfp"  # of past attempts; the artifacts themselves are in the work folder and the store
    shutil.rmtree(references, ignore_errors=True)
    flow, runner = pipeline(whole_flow(recipe)), local.SubprocessRunner(use_venv=False)
    if infra.runner == "docker":
        from deepperception.platform.placement import in_image

        image = infra.images.trainer if infra.images else images.TRAINER
        runner = docker_runner.runner(recipe, infra, out.absolute(), references.absolute(), image)
        flow = in_image(flow, image)
    local.init(runner, pipeline_root=str(references), workspace_root=str(references / "workspace"))
    with contextlib.redirect_stdout(screen), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # settings for clusters do nothing here, and the image may hold no Python
        try:
            flow(recipe=recipe.to_json(), infra=infra.to_json(), seed=recipe.seed)
        except RuntimeError:  # all that KFP says of a step that failed
            raise steps.failure(infra.work_dir, log, screen.last_lines) from None
    # KFP takes a container that was gone before it could be asked for a success.
    if failure.is_file():
        raise steps.failure(infra.work_dir, log, screen.last_lines)


def _steps_at_hand(infra: Infra, log: Path) -> contextlib.AbstractContextManager[None]:
    """A warm process for the steps of this machine; containers have their own interpreters."""
    return warm.worker(log) if infra.runner == "local" else contextlib.nullcontext()


@contextlib.contextmanager
def _recorded(recipe: Recipe, infra: Infra) -> Iterator[None]:
    """Have the record say so where the run comes to no end; the steps themselves record all the rest."""
    try:
        yield
    except BaseException as error:
        # Why the run ended matters more than whether that can be written down.
        with contextlib.suppress(Exception):
            tracker = Tracker(infra.tracking_uri, infra.experiment, create=False)
            send_waiting(infra.tracking_uri, infra.experiment, infra.work_dir, lambda _: None)
            tracker.break_off(pipeline_key(recipe), "KILLED" if isinstance(error, Preempted) else "FAILED")
        raise


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into Preempted."""

    def stop(number: int, _: Any) -> NoReturn:
        # KFP would wait for the step that is running; letting go of the lifeline ends it.
        lifeline.let_go()
        raise Preempted(f"stopped by {signal.Signals(number).name}; finished stages are kept, run again to go on.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with _environment(_OFFLINE):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
