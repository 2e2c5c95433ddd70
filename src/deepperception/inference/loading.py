"""Loads the weights of a checkpoint folder for training or inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from deepperception.artifacts.checkpoints import check_checkpoint
from deepperception.inference.backend import default_dtype, device


def load_model(folder: Path, *, dtype: torch.dtype | None = None) -> Any:
    """The model on the best device at hand; bf16 on a GPU and fp32 on a CPU unless told.

    InputError for a folder that is no Qwen-VL checkpoint; only safetensors are read and no code of the checkpoint runs.
    """
    check_checkpoint(folder)
    transformers_logging.disable_progress_bar()
    model: Any = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=dtype or default_dtype(),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return model.to(device())
