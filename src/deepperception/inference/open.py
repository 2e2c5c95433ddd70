"""Engines by name. Each is imported when it is opened: what they need takes seconds to load, or is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from deepperception.errors import InputError
from deepperception.inference.backend import check_vllm, transformers_backend, vllm_backend
from deepperception.inference.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from deepperception.inference.endpoint import Endpoint
    from deepperception.inference.openai_engine import OpenAIEngine

EngineName = Literal["transformers", "vllm", "openai"]


class OpenEngine(Protocol):
    """Loads a checkpoint folder."""

    def __call__(self, folder: Path, *, max_pixels: int, batch_size: int) -> Engine: ...


def opener(name: EngineName) -> OpenEngine:
    """How the engine of that name is opened; InputError where it loads no checkpoints, or is not installed."""
    if name == "vllm":
        check_vllm()
        return _open_vllm
    if name == "openai":
        raise InputError(
            "evaluation.engine: 'openai' asks a server and loads no checkpoint; "
            "use `deepperception evaluate --engine openai --endpoint URL`."
        )
    return _open_transformers


def backend_of(name: EngineName) -> dict[str, Any]:
    """What a score by the engine of that name records, known before any weights are loaded."""
    return vllm_backend() if name == "vllm" else transformers_backend()


def endpoint_engine(endpoint: Endpoint, say: Callable[[str], None]) -> OpenAIEngine:
    """The engine that asks a server; `say` is told where it makes one wait."""
    from deepperception.inference.openai_engine import OpenAIEngine

    return OpenAIEngine(endpoint, say=say)


def _open_transformers(folder: Path, *, max_pixels: int, batch_size: int) -> Engine:
    from deepperception.inference.transformers_engine import TransformersEngine

    return TransformersEngine(folder, max_pixels=max_pixels, batch_size=batch_size)


def _open_vllm(folder: Path, *, max_pixels: int, batch_size: int) -> Engine:
    from deepperception.inference.vllm_engine import VllmEngine

    return VllmEngine(folder, max_pixels=max_pixels, batch_size=batch_size)
