"""The model under training: loading, freezing, and writing it out as a checkpoint that says how to ask it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import transformers

from deepperception.artifacts.checkpoints import Interface, read_interface, write_interface
from deepperception.inference.loading import load_model
from deepperception.inference.processor import load_processor, save_processor

CURVES = "evidence/curves.jsonl"


class Policy(NamedTuple):
    """A checkpoint in memory."""

    model: Any
    processor: Any
    interface: Interface


def load_policy(folder: Path) -> Policy:
    """The checkpoint of `folder` in fp32 (a GPU trains it under bf16 autocast), pictures bounded as it asks."""
    import torch

    interface = read_interface(folder)
    return Policy(
        load_model(folder, dtype=torch.float32), load_processor(folder, max_pixels=interface.max_pixels), interface
    )


def freeze_vision(model: Any) -> None:
    """Vision tower and projector keep their weights. In Qwen-VL the projector (`merger`) is part of `visual`."""
    model.model.visual.requires_grad_(False)


def export(policy: Policy, folder: Path, *, prompt: str, curves: list[dict[str, Any]]) -> None:
    """Writes weights, processor, interface and curves; the folder loads in stock transformers."""
    policy.model.save_pretrained(folder)
    save_processor(policy.processor, folder)
    write_interface(folder, policy.interface.model_copy(update={"prompt": prompt}))
    path = folder / CURVES
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(point, sort_keys=True) + "\n" for point in curves), encoding="utf-8")


def backend_of(policy: Policy) -> dict[str, Any]:
    """What trained it, for the manifest."""
    import torch
    import trl

    return {
        "engine": "trl",
        "trl": trl.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "device": policy.model.device.type,
        "threads": torch.get_num_threads(),
    }
