"""What makes the replies of a checkpoint on this machine, known before any weights are loaded."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def device() -> str:
    """The best device at hand."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_dtype() -> torch.dtype:
    """The number format that a checkpoint is loaded in: bf16 on a GPU, fp32 on a CPU."""
    import torch

    return torch.bfloat16 if device() == "cuda" else torch.float32


def transformers_backend(dtype: torch.dtype | None = None) -> dict[str, Any]:
    """What a score by transformers records; `dtype` None: as a checkpoint would be loaded here.

    Asks for transformers' version without importing it, which takes seconds.
    """
    return {
        "engine": "transformers",
        "version": metadata.version("transformers"),
        "dtype": str(dtype or default_dtype()).removeprefix("torch."),
    }
