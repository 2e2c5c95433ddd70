"""What the launcher and the processes of its job leave for each other, in a folder of the run's work volume.

call.json       what to do; written before the job is made
trainjob.yaml   the job, as it was sent
reply.json      of the first process: what the stage handed on
failure.json    of the process that failed first, whichever it was
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import yaml

from deepperception.artifacts.disk import write_text

_CALL, _JOB, _REPLY, _FAILURE = "call.json", "trainjob.yaml", "reply.json", "failure.json"


class Words:
    """Of one job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def job_file(self) -> Path:
        return self._folder / _JOB

    def begin(self, call: str, job: dict[str, Any]) -> None:
        """Leave a call, and take away what an earlier job of the name has left."""
        for name in (_REPLY, _FAILURE):
            (self._folder / name).unlink(missing_ok=True)
        write_text(self._folder / _CALL, call)
        write_text(self.job_file, yaml.safe_dump(job, sort_keys=False))

    def call(self) -> str:
        """What to do, as JSON."""
        return (self._folder / _CALL).read_text(encoding="utf-8")

    def reply(self, outputs: dict[str, Any]) -> None:
        """Leave what the stage hands on."""
        write_text(self._folder / _REPLY, json.dumps({"outputs": outputs}))

    def outputs(self) -> dict[str, Any] | None:
        """What the stage handed on; None where it came to no end."""
        path = self._folder / _REPLY
        return dict(json.loads(path.read_text(encoding="utf-8"))["outputs"]) if path.is_file() else None

    def fail(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Leave word of a failure, and get the one that counts: the first. The others are often its consequences."""
        path = self._folder / _FAILURE
        own = path.with_name(f".{_FAILURE}.{uuid.uuid4().hex}")
        write_text(own, json.dumps(reply))
        try:
            os.link(own, path)  # there whole, or not; and it replaces nothing
        except FileExistsError:
            pass
        finally:
            own.unlink()
        return self.failure() or reply

    def failure(self) -> dict[str, Any] | None:
        """{"error", "message", "exit_code"} of what failed first."""
        path = self._folder / _FAILURE
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
