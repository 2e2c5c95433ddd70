"""A request as a checkpoint's own chat template words it."""

from __future__ import annotations

from typing import Any

from deepperception.inference.engine import Request


def prompt(processor: Any, request: Request) -> str:
    """The text that the model goes on from, with one placeholder for the picture."""
    turns = [
        {"role": role, "content": [*([{"type": "image"}] if shows else []), {"type": "text", "text": text}]}
        for role, text, shows in request.turns()
    ]
    written: str = processor.apply_chat_template(turns, add_generation_prompt=True)
    return written
