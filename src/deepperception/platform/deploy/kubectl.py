"""kubectl as a child process: the cluster's client that every operator has, with its own contexts and plug-ins."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

from deepperception.errors import InfrastructureError, InputError

FIELD_MANAGER = "deepperception-deploy"
_ANSWERS_WITHIN = "--request-timeout=60s"


@dataclass(frozen=True)
class Kubectl:
    """Calls `kubectl`, in the current context or the one given."""

    context: str | None = None
    program: str = field(default="kubectl")

    def local(self, *arguments: str) -> str:
        """A call that needs no cluster; InputError where it fails."""
        done = self._run(list(arguments), None)
        if done.returncode != 0:
            raise InputError(f"kubectl {' '.join(arguments)}: {_why(done.stderr)}")
        return done.stdout

    def call(self, *arguments: str, stdin: str | None = None) -> str:
        """A call to the cluster; InfrastructureError with kubectl's own words where it fails."""
        done = self.attempt(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise InfrastructureError(f"kubectl {' '.join(arguments)}: {_why(done.stderr)}")
        return done.stdout

    def attempt(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """A call to the cluster that may fail."""
        context = [f"--context={self.context}"] if self.context else []
        return self._run([*context, _ANSWERS_WITHIN, *arguments], stdin)

    def get(self, *arguments: str) -> Any:
        """What `kubectl get ... -o json` gives; None where there is nothing."""
        text = self.call("get", *arguments, "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    def _run(self, arguments: list[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
        program = shutil.which(self.program)
        if program is None:
            raise InputError("kubectl is not on the PATH; install it (version 1.31 or newer) and try again.")
        return subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, check=False)


def _why(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("Warning:")]
    return " ".join(lines[-3:]) or "it failed without a word."
