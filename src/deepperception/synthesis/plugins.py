"""Finding a source or a teacher by its name, so that the stage knows none of them itself."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import Any

from deepperception.errors import InputError


def load_plugin(group: str, name: str, key: str) -> Any:
    """The object that entry point `name` of `group` points to; `key` is the setting that an error names."""
    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"installed are: {', '.join(sorted(found)) or 'none'}."
        raise InputError(f"{key}: there is no '{name}'; {hint}")
    return found[name].load()
