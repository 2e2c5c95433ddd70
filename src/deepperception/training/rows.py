"""Rows to train on: every picture is looked at before the training, and decoded when its batch comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value

from deepperception.artifacts.choice_rows import holds_choices, read_choices
from deepperception.artifacts.datasets import read_rows
from deepperception.errors import InputError
from deepperception.inference.images import MAX_ASPECT, examine, open_image
from deepperception.training.questions import Row

IMAGE = "image"
TURNS = List({"role": Value("string"), "content": Value("string")})
"""A conversation, in the form that TRL wants."""


def read_samples(path: Path) -> list[Row]:
    """The rows of a dataset file, all of one kind, pictures encoded.

    InputError names the file and row of one that cannot be used.
    """
    samples: list[Row] = list(read_choices(path)) if holds_choices(path) else list(read_rows(path))
    if not samples:
        raise InputError(f"{path}: there are no rows to learn from; synthesize more.")
    for number, sample in enumerate(samples, start=1):
        examine(sample.image, max_aspect=MAX_ASPECT, name=f"{path}, row {number} ({sample.question_id})")
    return samples


def to_dataset(rows: list[dict[str, Any]], **columns: Any) -> Dataset:
    """The rows for a trainer: `image` (an encoded file), `prompt`, and more `columns` with their types.

    What it hands out has decoded pictures: thousands of them are gigabytes.
    """
    # Plain binary columns end at 2 GiB.
    features = Features({IMAGE: Value("large_binary"), "prompt": TURNS, **columns})
    return Dataset.from_list(rows, features=features).with_transform(_decoded)


def _decoded(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    # Not datasets' own decoding: training must see the very pixels that inference sees.
    return {**batch, IMAGE: [open_image(content) for content in batch[IMAGE]]}
