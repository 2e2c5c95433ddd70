"""How one step keeps its record: written down first, then sent; what cannot be sent now is sent by a later step."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepperception.errors import InfrastructureError, InputError
from deepperception.tracking.client import is_server
from deepperception.tracking.failures import Unavailable
from deepperception.tracking.outbox import Outbox
from deepperception.tracking.record import Pipeline, Record
from deepperception.tracking.runs import INJECTED
from deepperception.tracking.tracker import Tracker


@dataclass
class Recorder:
    """Of one step. A server that is away delays its records and nothing else; `say` tells of it."""

    uri: str
    experiment: str
    work_dir: Path
    pipeline: Pipeline
    stage: str
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self._outbox = Outbox(self.work_dir)
        self._attach_to = os.environ.get(INJECTED) or None
        self._started_ms = _now_ms()

    @functools.cached_property
    def tracker(self) -> Tracker:
        """Opened where it is first needed: MLflow takes seconds to import."""
        return Tracker(self.uri, self.experiment, say=self.say)

    def greet(self) -> None:
        """Before the work: see that a server would take the record, and send it what waits.

        InputError where it refuses this user, or is no MLflow: better told now than after hours of training.
        """
        if not is_server(self.uri):
            return
        try:
            self.tracker.runs.check()
        except Unavailable as error:
            self.say(f"{error} The step goes on; its record waits in {self._outbox.folder} and is sent later.")
        except InfrastructureError as error:
            raise InputError(f"tracking_uri: {self.uri} does not answer as an MLflow server does ({error})") from error
        else:
            self._send()

    def settle(self) -> None:
        """For what cannot go on without MLflow: wait for it, and send all that waits."""
        self.pipeline_run()
        self._send()

    def pipeline_run(self) -> str:
        """The id of the pipeline's run, which is open; waits for the server, then InfrastructureError."""
        return self.tracker.pipeline_run(self.pipeline, self._attach_to)

    def stage_run(
        self,
        name: str,
        key: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        curves: Sequence[Mapping[str, Any]] = (),
        files: Sequence[Path] = (),
        tags: Mapping[str, str] | None = None,
    ) -> str | None:
        """Record a finished stage, once for each `key`: its run's id, or None where that is not known yet.

        `curves` are rows such as `{"step": 20, "loss": 0.31}`; `files` are small files and folders of them.
        """
        record = Record(
            "stage", self.pipeline, self.stage, name, key, _now_ms(), self._started_ms,
            params or {}, metrics or {}, curves, tags or {}, self._attach_to,
        )  # fmt: skip
        self._outbox.put(record, files)
        return self._send().get(key) or self._attach_to

    def finish(
        self,
        *,
        metrics: Mapping[str, float] | None = None,
        files: Sequence[Path] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record the end of the pipeline. Again, it replaces files and tags, and leaves metrics that did not change.

        A trial's run that a runner keeps itself has no end of ours.
        """
        if self._attach_to and self.pipeline.above:
            return
        content = hashlib.sha256(json.dumps(dict(metrics or {}), sort_keys=True).encode())
        for path in files:
            content.update(path.read_bytes())
        record = Record(
            "end", self.pipeline, self.stage, "the end", content.hexdigest(), _now_ms(), self._started_ms,
            metrics=metrics or {}, tags=tags or {}, attach_to=self._attach_to,
        )  # fmt: skip
        self._outbox.put(record, files)
        self._send()

    def _send(self) -> dict[str, str]:
        sent = self._outbox.send(self.tracker.runs)
        _tell(sent.refused, sent.away, self._outbox, self.say)
        return sent.run_ids


def send_waiting(uri: str, experiment: str, work_dir: Path, say: Callable[[str], None]) -> int:
    """Send what steps left behind in their work folder; returns how many records still wait.

    InputError where the server refuses this user.
    """
    outbox = Outbox(work_dir)
    if outbox.waiting():
        sent = outbox.send(Tracker(uri, experiment).runs)
        _tell(sent.refused, sent.away, outbox, say)
    return outbox.waiting()


def _tell(refused: Sequence[str], away: Unavailable | None, outbox: Outbox, say: Callable[[str], None]) -> None:
    for sentence in refused:
        say(sentence)
    if away:
        waiting = f"Records waiting in {outbox.folder}: {outbox.waiting()}"
        say(f"{away} {waiting}; a later step, or the next run, sends them.")


def _now_ms() -> int:
    return int(time.time() * 1000)
