"""What makes the replies of a checkpoint on this machine, known before any weights are loaded."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from deepperception.errors import InputError

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


def vllm_backend() -> dict[str, Any]:
    """What a score by vLLM records; InputError where it is not installed. Does not import it, which takes long."""
    check_vllm()
    return {
        "engine": "vllm",
        "version": metadata.version("vllm"),
        "dtype": str(default_dtype()).removeprefix("torch."),
    }


def check_vllm() -> None:
    """InputError where vLLM is not installed."""
    if find_spec("vllm") is None:
        raise InputError(
            "evaluation.engine: vllm is not installed here; install deepperception[gpu] on a machine with a GPU, "
            "or choose the engine transformers."
        )
