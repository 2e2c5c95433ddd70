"""Which folders may be loaded as a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepperception.artifacts import Interface, check_checkpoint, read_interface, write_interface
from deepperception.errors import InputError

HEADER = json.dumps(
    {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
).encode()
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2_vl"}')
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_a_qwen_vl_checkpoint_passes(checkpoint: Path, model_type: str) -> None:
    (checkpoint / "config.json").write_text(json.dumps({"model_type": model_type}))
    (checkpoint / "tokenizer_config.json").write_text("{}")
    check_checkpoint(checkpoint)


def test_real_safetensors_pass(checkpoint: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    import numpy as np

    for content in ({"a": np.zeros((3, 5), np.float32), "b": np.ones(7, np.int8)}, {}):
        numpy.save_file(content, checkpoint / "model.safetensors")
        check_checkpoint(checkpoint)


def remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str | bytes) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("config.json"), "has no config.json"),
        (write("config.json", "{"), "not readable JSON"),
        (write("config.json", "[]"), "expected a JSON object"),
        (write("config.json", '{"model_type": "llama"}'), "the model_type is 'llama'; expected one of qwen2_vl"),
        (write("config.json", "{}"), "the model_type is None"),
        (remove("model.safetensors"), "no weights"),
        (write("model.safetensors", WEIGHTS[:-1]), "cut off"),
        (write("model.safetensors", WEIGHTS + b"x"), "cut off or no safetensors"),
        (write("model.safetensors", WEIGHTS[:20]), "cut off"),
        (write("model.safetensors", b""), "cut off"),
        (write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "cut off or no safetensors"),
        (write("model-2.safetensors", WEIGHTS[:-1]), "model-2.safetensors: the file is cut off"),
        (write("pytorch_model.bin", b"pickle"), "pytorch_model.bin: pickled files can run code"),
        (write("extra/optimizer.pt", b"pickle"), "optimizer.pt: pickled"),
        (write("modeling_qwen.py", "import os"), "may not bring code"),
        (
            write("config.json", '{"model_type": "qwen2_vl", "auto_map": {"AutoModel": "m.M"}}'),
            "'auto_map' asks for code",
        ),
        (write("tokenizer_config.json", '{"a": [{"auto_map": 1}]}'), "tokenizer_config.json: 'auto_map'"),
        (write("processor_config.json", r'{"auto\u005fmap": {"AutoProcessor": "p.P"}}'), "config.json: 'auto_map'"),
        (write("image_processor/config.json", '[{"auto_map": {}}]'), "processor/config.json: 'auto_map'"),
        (write("tokenizer.json", "[" * 100_000), "tokenizer.json: this is not readable JSON"),
        (
            write(
                "model.safetensors.index.json", '{"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}'
            ),
            "the weights in model-2.safetensors are missing",
        ),
    ],
)
def test_anything_else_is_refused(checkpoint: Path, change: Callable[[Path], Any], message: str) -> None:
    change(checkpoint)
    with pytest.raises(InputError, match=message) as caught:
        check_checkpoint(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_checkpoint(tmp_path / "absent")


def test_an_interface_travels_with_the_weights(checkpoint: Path) -> None:
    assert read_interface(checkpoint) == Interface(prompt="bare", box_step=1, max_pixels=401_408, max_new_tokens=512)
    thinking = Interface(prompt="r1", box_step=25, max_pixels=12_544, max_new_tokens=96)
    write_interface(checkpoint, thinking)
    assert read_interface(checkpoint) == thinking
    check_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"promt": "r1"}', "deepperception.json: unknown key 'promt'; did you mean 'prompt'"),
        ('{"prompt": "cot"}', "deepperception.json: prompt"),
        ('{"box_step": 0}', "deepperception.json: box_step"),
        ("no", "not readable JSON"),
    ],
)
def test_a_broken_interface_is_one_sentence(checkpoint: Path, content: str, message: str) -> None:
    (checkpoint / "deepperception.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_interface(checkpoint)
