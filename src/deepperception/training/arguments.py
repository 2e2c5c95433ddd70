"""What both trainers are told alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class TrainingSettings(Protocol):
    """The part of a stage's settings that the two stages share."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def epochs(self) -> float: ...
    @property
    def max_steps(self) -> int | None: ...
    @property
    def schedule(self) -> str: ...
    @property
    def max_grad_norm(self) -> float: ...
    @property
    def gradient_checkpointing(self) -> bool: ...


def common_arguments(settings: TrainingSettings, *, seed: int, scratch: Path) -> dict[str, Any]:
    """Keyword arguments of TRL's SFTConfig and GRPOConfig: the settings, and no reporting but ours."""
    import torch

    return {
        "output_dir": str(scratch),
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "lr_scheduler_type": settings.schedule,
        "max_grad_norm": settings.max_grad_norm,
        "activation_checkpointing": settings.gradient_checkpointing,
        "seed": seed,
        "data_seed": seed,
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
        # Every pass uses every weight that is trained; looking for others costs a walk over the graph each time.
        "ddp_find_unused_parameters": False,
    }
