"""What every component calls: one stage, from references to references.

A step resolves its inputs from the store, runs the stage in `work_dir`, puts the result into the store, records it, and
hands on the reference. Why it failed is told in `work_dir/failure.json`: a pipeline's runner only says that it did.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from deepperception import errors
from deepperception.artifacts.disk import is_full, write_text
from deepperception.errors import DeepPerceptionError, InfrastructureError, InputError
from deepperception.platform import attempts, lifeline, warm
from deepperception.platform.attempts import attempt
from deepperception.search.trials import TRIAL

FAILURE = "failure.json"
RESULTS = "results"
"""Folder of what each step handed on."""


class PipelineArtifact(Protocol):
    """As much of a KFP artifact as a step needs."""

    path: str
    metadata: dict[str, Any]


def run_step(
    stage: str,
    recipe: str,
    infra: str,
    seed: int,
    *,
    outputs: Mapping[str, PipelineArtifact],
    inputs: Mapping[str, PipelineArtifact | Sequence[PipelineArtifact]] | None = None,
    facts: Mapping[str, dict[str, Any]] | None = None,
    trial: str = "",
) -> dict[str, dict[str, Any]]:
    """Run the stage and fill `outputs`, whose metadata is returned; exits with the error's own code where it fails.

    `facts` are inputs that are no artifacts; `trial` is the search's trial that the step is of, as JSON. Of a list of
    artifacts a stage gets the metadata as {"each": [...]}.
    """
    lifeline.die_with_run()
    known = {name: _metadata(given) for name, given in (inputs or {}).items()} | dict(facts or {})
    known |= {TRIAL: json.loads(trial)} if trial else {}
    step = f"{known[TRIAL]['name']}.{stage}" if trial else stage  # trials must not take each other's word
    call = json.dumps({"stage": stage, "recipe": recipe, "infra": infra, "seed": seed, "inputs": known})
    work_dir = Path(json.loads(infra)["work_dir"])
    reply = _not_handed_on(inputs or {}) or attempts.settled(work_dir, step) or warm.ask(call) or attempt(call)
    if "error" in reply:
        print(f"{step}: {reply['message']}", file=sys.stderr, flush=True)
        attempts.remember(work_dir, step, reply)
        # A full disk may have no room for this either: its traceback is then the word that `failure` goes by.
        write_text(work_dir / FAILURE, json.dumps({"stage": step, **reply}, indent=2) + "\n")
        sys.exit(reply["exit_code"])
    attempts.forget(work_dir, step)
    for name, artifact in outputs.items():
        _publish(artifact, reply["outputs"][name])
    write_text(work_dir / RESULTS / f"{step}.json", json.dumps(reply["outputs"], indent=2) + "\n")
    return {name: output["metadata"] for name, output in reply["outputs"].items()}


def failure(work_dir: Path, log: Path, last_lines: Iterable[str]) -> DeepPerceptionError:
    """The error that the run's steps left behind, of its own type; `last_lines` is how their output ended."""
    path = work_dir / FAILURE
    if not path.is_file():
        if is_full(OSError("\n".join(last_lines))):
            return InputError(f"{work_dir}: the disk is full; free some space and run again, finished stages are kept.")
        return InfrastructureError(f"a stage was killed or never started; {log} shows how far it came.")
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["error"] == "Exception":
        return InfrastructureError(f"the stage '{told['stage']}' broke off ({told['message']}); {log} says where.")
    kind: type[DeepPerceptionError] = getattr(errors, told["error"])
    return kind(told["message"])


def _not_handed_on(
    inputs: Mapping[str, PipelineArtifact | Sequence[PipelineArtifact]],
) -> dict[str, Any] | None:
    """KFP takes a container that was gone before it could be asked for a success, and its output for an artifact."""
    for name, given in inputs.items():
        if any("uri" not in one.metadata for one in (given if isinstance(given, Sequence) else [given])):
            why = f"the stage that makes '{name}' was killed before it could hand it on; run again, the rest is kept."
            return {"error": "InfrastructureError", "message": why, "exit_code": InfrastructureError.exit_code}
    return None


def _metadata(given: PipelineArtifact | Sequence[PipelineArtifact]) -> dict[str, Any]:
    return {"each": [one.metadata for one in given]} if isinstance(given, Sequence) else given.metadata


def _publish(artifact: PipelineArtifact, output: dict[str, Any]) -> None:
    """Metadata is what the next step reads; the file is for people, or is the page itself where the output is one."""
    artifact.metadata.update(output["metadata"])
    path = Path(artifact.path)
    if "page" in output:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(output["page"]).read_bytes())
        return
    path.mkdir(parents=True, exist_ok=True)
    reference = {key: artifact.metadata[key] for key in ("uri", "digest")}
    (path / "ref.json").write_text(json.dumps(reference, indent=2) + "\n", encoding="utf-8")
    for file in output.get("beside", ()):
        shutil.copy(file, path)
