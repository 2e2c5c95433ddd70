"""Several processes that train one model: the first speaks to the world, all of them compute.

`torchrun` starts the processes and names each by its rank. All of them read the same inputs and take part in the same
training, data parallel: each has its own rows, gradients are averaged, weights stay equal. The first one alone writes.
A process by itself is the first of one, and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Outcome, once
from deepperception.progress import Progress

# What the others wait for: a filter that asks the model about every prompt, weights on their way to a slow disk.
_PATIENCE = timedelta(hours=12)
_RANKS = "ranks"

T = TypeVar("T")
_control: list[Any] = []


def rank() -> int:
    """Of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


def processes() -> int:
    """How many there are of this training."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes, and part from them where the block came to its end.

    After an error there is no parting: the others may be in the midst of an exchange, and end by this process's end.
    """
    if processes() == 1:
        yield
        return
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    # Words between processes go through the CPU: on a GPU's channel they would have to wait within its time limit.
    _control.append(distributed.new_group(backend="gloo", timeout=_PATIENCE))
    yield
    _control.clear()
    distributed.destroy_process_group()


def told_by_first(value: T) -> T:
    """The first process's `value`, in all of them; what the others give is dropped."""
    if processes() == 1:
        return value
    from torch import distributed

    box = [value]
    distributed.broadcast_object_list(box, src=0, group=_control[0])
    return box[0]


def from_all(value: T) -> list[T]:
    """Every process's `value`, in the order of ranks, in all of them."""
    if processes() == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * processes()
    distributed.all_gather_object(values, value, group=_control[0])
    return values


def once_together(
    out: Path,
    *,
    kind: str,
    recipe_hash: str,
    seed: int,
    inputs: Mapping[str, str],
    progress: Progress,
    build: Callable[[Path], Outcome],
) -> Manifest:
    """`artifacts.once`, where several processes make the artifact; all of them return its manifest.

    The first process asks whether there is something to do. Where there is, `build` runs in every process; the others
    get a folder that is thrown away. The number of processes is an input: it decides who saw which rows together.
    """
    if processes() > 1:
        inputs = {**inputs, _RANKS: str(processes())}
    if not is_first():
        if told_by_first(False):
            with tempfile.TemporaryDirectory() as folder:
                build(Path(folder))
        made: Manifest | None = told_by_first(None)
        assert made is not None, "the first process has the manifest, or ended"
        return made

    begun = False

    def build_with_others(folder: Path) -> Outcome:
        nonlocal begun
        begun = told_by_first(True)
        return build(folder)

    manifest = once(
        out,
        kind=kind,
        recipe_hash=recipe_hash,
        seed=seed,
        inputs=inputs,
        progress=progress,
        build=build_with_others,
    )
    if not begun:
        told_by_first(False)
    return told_by_first(manifest)
