"""The ready-made recipe and infra files, wherever the package was installed from."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Literal

import deepperception
from deepperception.errors import InputError


def find(kind: Literal["recipes", "infra"], name: str | Path) -> Path:
    """The file that `name` means: a path, or the bare name of a file that the project brings (`bestiary`).

    InputError, with the nearest name, where a bare name is none of them. Whether a path exists is left to its reader.
    """
    path = Path(name)
    if path.suffix or os.sep in str(name) or path.is_file():
        return path
    shipped = {file.stem: file for root in deepperception.__path__ for file in sorted(Path(root, kind).glob("*.yaml"))}
    if path.name in shipped:
        return shipped[path.name]
    near = difflib.get_close_matches(path.name, shipped, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(shipped)) or 'none'}."
    raise InputError(f"'{name}' is no file and none of the ready-made {kind}; {hint}")
