"""Checkpoints: what may be loaded, and how a model wants to be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from deepperception.artifacts.disk import write_text
from deepperception.errors import InputError
from deepperception.grounding import PromptName
from deepperception.settings import Settings, parse

MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
INTERFACE = "deepperception.json"
_PICKLED = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
_LENGTH_BYTES = 8  # a safetensors file starts with the length of its JSON header, little endian


class Interface(Settings):
    """How a model is asked and read; it travels with the weights, in `deepperception.json`."""

    prompt: PromptName = Field(
        default="bare", description="Around the question: bare for base models, r1 for thinking ones."
    )
    box_step: int = Field(default=1, ge=1, le=1000, description="Thousandths between the coordinates it writes.")
    max_pixels: int = Field(default=401_408, ge=3_136, description="Per picture, after resizing. Paper, both stages.")
    max_new_tokens: int = Field(default=512, ge=1, description="Longest reply. Paper, stage 2.")


def check_checkpoint(folder: Path) -> None:
    """Refuse, in one sentence, a folder that is no whole Qwen-VL checkpoint, or one that would run foreign code.

    Pickled weights and Python files execute what they hold when they are loaded, so only safetensors are accepted.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the folder of a Qwen-VL checkpoint.")
    config = _read_json(
        folder / "config.json",
        f"{folder}: this is no checkpoint (it has no config.json); give the folder of a Qwen-VL model.",
    )
    if config.get("model_type") not in MODEL_TYPES:
        raise InputError(
            f"{folder / 'config.json'}: the model_type is {config.get('model_type')!r}; "
            f"expected one of {', '.join(MODEL_TYPES)}."
        )
    _refuse_code(folder)
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise InputError(f"{folder}: there are no weights (*.safetensors); give a whole checkpoint.")
    for shard in shards:
        _check_whole(shard)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(_read_json(index, f"{index}: cannot be read.").get("weight_map", {}).values())
        if absent := sorted(named - {shard.name for shard in shards}):
            raise InputError(f"{folder}: the weights in {absent[0]} are missing; copy the whole checkpoint.")


def read_interface(folder: Path) -> Interface:
    """The checkpoint's own interface; the defaults (a plain Qwen2-VL) where it brings none."""
    path = folder / INTERFACE
    if not path.is_file():
        return Interface()
    return parse(_read_json(path, f"{path}: there is no such file."), Interface, where=str(path))


def write_interface(folder: Path, interface: Interface) -> None:
    """Write it beside the weights."""
    write_text(folder / INTERFACE, json.dumps(interface.model_dump(), indent=2) + "\n")


def _refuse_code(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".py":
            raise InputError(f"{path}: a checkpoint may not bring code; remove the file.")
        if path.suffix in _PICKLED:
            raise InputError(
                f"{path}: pickled files can run code when loaded; convert the weights to safetensors and remove it."
            )
        # Searched as parsed, for a key can be spelled in many ways; and at whatever depth the entry stands.
        if path.suffix == ".json" and path.is_file() and _has_key("auto_map", _parsed(path)):
            raise InputError(f"{path}: 'auto_map' asks for code that comes with the model; remove the entry.")


def _has_key(key: str, content: Any) -> bool:
    found = [content]
    while found:
        value = found.pop()
        if isinstance(value, dict):
            if key in value:
                return True
            found.extend(value.values())
        elif isinstance(value, list):
            found.extend(value)
    return False


def _check_whole(shard: Path) -> None:
    size = shard.stat().st_size
    damaged = InputError(f"{shard}: the file is cut off or no safetensors file; copy it again.")
    with shard.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
            raise damaged
        try:
            header = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise damaged from None
    if size != _LENGTH_BYTES + length + end:
        raise damaged


def _read_json(path: Path, absent: str) -> dict[str, Any]:
    if not path.exists():
        raise InputError(absent)
    content = _parsed(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}; copy the checkpoint again.")
    return content


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not readable JSON ({error}); copy the checkpoint again.") from None
