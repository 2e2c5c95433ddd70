from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("datasets", reason="needs the train extra")

from deepperception.artifacts.datasets import read_rows, write_rows
from deepperception.errors import InputError
from deepperception.inference.images import open_image
from deepperception.training.rows import read_samples, to_dataset


def encoded(picture: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


def noise(mode: str) -> Image.Image:
    """A picture that no lossy format can write twice without a change."""
    shape = (40, 60) if mode == "L" else (40, 60, len(mode))
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), mode)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("form, mode", [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("JPEG", "RGB")])
def test_training_sees_the_pixels_that_inference_sees(form: str, mode: str) -> None:
    content = encoded(noise(mode), form)
    rows = to_dataset([{"image": content, "prompt": [{"role": "user", "content": "Where?"}]}])
    assert np.array_equal(np.asarray(rows[0]["image"]), np.asarray(open_image(content)))
    assert rows[0]["prompt"] == [{"role": "user", "content": "Where?"}]


def test_pictures_are_kept_as_their_files() -> None:
    content = encoded(Image.new("RGB", (2000, 2000)), "PNG")
    rows = to_dataset([{"image": content, "prompt": []} for _ in range(3)])
    assert rows.data.nbytes < 4 * len(content) < 2000 * 2000


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda content: content[: len(content) // 2], "damaged or cut off"),
        (lambda content: b"text", "not a picture"),
        (lambda content: encoded(Image.new("RGB", (2010, 10)), "PNG"), "times as long as wide"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named(
    spoil: Callable[[bytes], bytes], complaint: str, creature_rows: Path, tmp_path: Path
) -> None:
    rows = list(read_rows(creature_rows / "sft.parquet"))
    rows[2] = replace(rows[2], image=spoil(rows[2].image))
    path = tmp_path / "sft.parquet"
    write_rows(path, rows)
    with pytest.raises(InputError, match=re.escape(f"{path}, row 3 (thing/2): ") + f".*{complaint}"):
        read_samples(path)


def test_no_rows_are_nothing_to_learn_from(tmp_path: Path) -> None:
    write_rows(tmp_path / "rl.parquet", [])
    with pytest.raises(InputError, match=r"rl\.parquet: there are no rows to learn from"):
        read_samples(tmp_path / "rl.parquet")
