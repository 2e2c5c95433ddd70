"""Follows a trainer: its progress for people, its curves for the record."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

from deepperception.errors import InputError
from deepperception.progress import Bar

# Times and memory differ between two equal runs; curves are part of an artifact whose digest must not.
_TIMED = ("runtime", "per_second", "time", "memory", "total_flos", "num_tokens", "epoch")


class Follower(TrainerCallback):
    """Keeps every logged point, moves the bar, and stops a run whose loss is no number."""

    def __init__(self, bar: Bar, note: dict[str, str]) -> None:
        """`note` names what is worth seeing while it runs: {logged key: short label}."""
        self.bar, self.note = bar, note
        self.curves: list[dict[str, Any]] = []
        self.latest = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        numbers = {key: value for key, value in (logs or {}).items() if isinstance(value, int | float)}
        point = {key: value for key, value in numbers.items() if not any(part in key for part in _TIMED)}
        if "loss" not in point:
            return
        if not math.isfinite(point["loss"]):
            raise InputError(
                f"step {state.global_step}: the loss is {point['loss']}; lower the learning rate and run again."
            )
        self.curves.append({"step": state.global_step, **point})
        self.latest = ", ".join(f"{label} {point[key]:.3f}" for key, label in self.note.items() if key in point)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.advance(1, note=self.latest)
