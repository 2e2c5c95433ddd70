"""The model under training: loading, freezing, and writing it out as a checkpoint that says how to ask it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import transformers

from deepperception.artifacts.checkpoints import Interface, read_interface, write_interface
from deepperception.artifacts.curves import write_curves
from deepperception.inference.loading import load_model
from deepperception.inference.processor import load_processor, save_processor
from deepperception.training.distribution import processes


class Policy(NamedTuple):
    """A checkpoint in memory."""

    model: Any
    processor: Any
    interface: Interface


def load_policy(folder: Path, interface: Interface | None = None) -> Policy:
    """The checkpoint of `folder` in fp32 (a GPU trains it under bf16 autocast), pictures bounded as it asks.

    `interface` takes the place of the checkpoint's own.
    """
    import torch

    interface = interface or read_interface(folder)
    return Policy(
        load_model(folder, dtype=torch.float32), load_processor(folder, max_pixels=interface.max_pixels), interface
    )


def as_input(interface: Interface | None) -> dict[str, str]:
    """An interface given from outside, as an input of the artifact; the checkpoint's own is part of its digest."""
    return {} if interface is None else {"interface": interface.model_dump_json(exclude={"prompt"})}


def freeze_vision(model: Any) -> None:
    """Vision tower and projector keep their weights. In Qwen-VL the projector (`merger`) is part of `visual`."""
    model.model.visual.requires_grad_(False)


def export(policy: Policy, folder: Path, *, prompt: str, curves: list[dict[str, Any]]) -> None:
    """Writes weights, processor, interface and curves; the folder loads in stock transformers."""
    policy.model.save_pretrained(folder)
    save_processor(policy.processor, folder)
    write_interface(folder, policy.interface.model_copy(update={"prompt": prompt}))
    write_curves(folder, curves)


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
        **({"ranks": processes()} if processes() > 1 else {}),
    }
