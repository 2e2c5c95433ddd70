"""Where a record comes from, as tags: data, recipe, code, commit, image. What is not known is left out.

Commit and image are facts of a build or of a pod: `DEEPPERCEPTION_COMMIT` and `DEEPPERCEPTION_IMAGE` say them. A
checkout of the sources knows its commit itself.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepperception.artifacts.manifest import Manifest, release

IMAGE, COMMIT = "DEEPPERCEPTION_IMAGE", "DEEPPERCEPTION_COMMIT"


def of_this_process() -> dict[str, str]:
    """Of what runs here: release, and commit and image where they are known."""
    known = {"release": release(), "commit": os.environ.get(COMMIT) or _commit(), "image": os.environ.get(IMAGE)}
    return {key: value for key, value in known.items() if value}


def of_artifact(manifest: Manifest, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Of one artifact, made of the step's `inputs`: also its data, its recipe, and the code that made it.

    `code_version` is of the code that made the artifact; release, commit and image are of the step that records it.
    """
    data = manifest.digest if manifest.kind == "dataset" else inputs.get("data", {}).get("digest")
    made_of = {f"input.{name}": digest for name, digest in manifest.inputs.items() if digest.startswith("sha256:")}
    return {
        "kind": manifest.kind,
        "recipe_hash": manifest.recipe_hash,
        "code_version": manifest.code_version,
        **({"data": data} if data else {}),
        **made_of,
        **of_this_process(),
    }


@functools.cache
def _commit() -> str | None:
    """Of the checkout that this file is tracked in, with "-dirty" where its files differ; None elsewhere."""
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:  # another project's checkout, or none
        return None
    commit = _git(here.parent, "rev-parse", "HEAD")
    changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no", "--", str(here.parents[1]))
    return f"{commit}-dirty" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
