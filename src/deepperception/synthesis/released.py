"""The data that the paper's authors released, as a dataset of this project.

For the cold start: JSON in ShareGPT's form (`messages` or `conversations`, and `images`) with the pictures in an
archive or a folder. For reinforcement learning: parquet with `image`, `problem`, `solution`. A file's category is the
word after the last dash of its name: cot-sft-aircraft.json, grpo-bird.parquet.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deepperception.artifacts.datasets import write_rows
from deepperception.artifacts.manifest import Manifest
from deepperception.artifacts.stage import Context, Outcome, once
from deepperception.errors import InputError
from deepperception.grounding import Object, Sample, Source, answer_text, entity_of, parse, question
from deepperception.inference.images import examine
from deepperception.synthesis.card import FileCounts, write_card
from deepperception.synthesis.leakage import UNCHECKED
from deepperception.synthesis.sources import Tally

MAX_PICTURE_BYTES = 64 << 20
NO_PICTURE, NO_ENTITY, NO_BOX = "has no picture that can be read", "names no entity", "has no box in its answer"
_ROWS_AT_ONCE = 32
_READER = Callable[[str], bytes]


def import_released(
    sft: Sequence[Path], rl: Sequence[Path], images: Path | None, licence: str, out: Path, context: Context
) -> Manifest:
    """Write a dataset folder of what was released: sft.parquet, rl.parquet (of what is given) and card.json.

    Rows that cannot be used are left out, counted by reason. InputError where a file is of another form, or no row of
    it can be used.
    """
    given = [*sft, *rl, *([images] if images and images.is_file() else [])]

    def build(folder: Path) -> Outcome:
        left_out = Tally()
        counts = {"sft": FileCounts(), "rl": FileCounts()}
        if sft:
            with _pictures(images) as read:
                rows = _rows(sft, lambda path: _sharegpt(path, read), licence, left_out, counts["sft"])
                write_rows(folder / "sft.parquet", rows)
        if rl:
            write_rows(folder / "rl.parquet", _rows(rl, _problems, licence, left_out, counts["rl"]))
        files = {name: each.as_dict() for name, each in counts.items() if each.rows}
        origin = sorted(path.name for path in given)
        write_card(
            folder / "card.json",
            {"released": origin, "files": files, "left_out": left_out.as_dict(), "leakage": UNCHECKED},
        )
        return Outcome(counts={name: each.rows for name, each in counts.items()})

    inputs = {path.name: _digest(path) for path in given}
    return once(
        out,
        kind="dataset",
        recipe_hash=f"released, licence {licence}",
        seed=context.seed,
        inputs=inputs,
        progress=context.progress,
        build=build,
    )


_Raw = tuple[str, bytes | None, str, str]
"""(name of the picture, its bytes, the user's turn, the reply)."""


def _rows(
    paths: Sequence[Path],
    read: Callable[[Path], Iterable[_Raw]],
    licence: str,
    left_out: Tally,
    counts: FileCounts,
) -> Iterator[Sample]:
    numbers: Counter[str] = Counter()
    for path in paths:
        category = path.stem.rsplit("-", 1)[-1]
        before = counts.rows
        for place, raw in enumerate(read(path), start=1):
            sample = _sample(raw, category, numbers[category], licence)
            if isinstance(sample, str):
                left_out.add(sample, f"{path.name}, row {place}")
                continue
            numbers[category] += 1
            counts.add(sample, "released")
            yield sample
        if counts.rows == before:
            raise InputError(f"{path}: no row of it can be used; the released files hold pictures, names and boxes.")


def _sample(raw: _Raw, category: str, number: int, licence: str) -> Sample | str:
    """The row, or why it cannot be used."""
    name, picture, asked, replied = raw
    try:
        if picture is None:
            return NO_PICTURE
        examine(picture, name=name)
    except InputError:
        return NO_PICTURE
    try:
        entity = entity_of(asked)
        ask = question(entity)
    except InputError:
        return NO_ENTITY
    parsed = parse(replied)
    if parsed.box is None:
        return NO_BOX
    box = parsed.box.rounded()
    return Sample(
        question_id=f"{category}/{number}",
        category=category,
        question=ask,
        answer=answer_text(entity, box),
        image=picture,
        entity=entity,
        objects=(Object(entity, box),),
        reasoning=parsed.reasoning or None,
        sources=(Source(name, licence),),
        split="train",
        seen=True,
        box_origins=("given",),
    )


def _sharegpt(path: Path, read: _READER) -> Iterator[_Raw]:
    try:
        rows = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}); correct its name.") from None
    except ValueError as error:
        raise InputError(f"{path}: this is no JSON ({error}); get the file again.") from None
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a list of conversations in ShareGPT's form.")
    for number, row in enumerate(rows, start=1):
        try:
            turns = [_turn(turn) for turn in row.get("messages") or row["conversations"]]
            asked = next(text for role, text in turns if role == "user")
            replied = next(text for role, text in reversed(turns) if role == "assistant")
            (name,) = row["images"]
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
            raise InputError(
                f"{path}, row {number}: expected `messages` (or `conversations`) of a user and an assistant, and "
                "`images` with one name; get the file again."
            ) from None
        yield str(name), _read_or_none(read, str(name)), asked, replied


def _turn(turn: Mapping[str, str]) -> tuple[str, str]:
    role = turn["role"] if "role" in turn else {"human": "user", "gpt": "assistant"}.get(turn["from"], turn["from"])
    return role, turn["content"] if "content" in turn else turn["value"]


def _problems(path: Path) -> Iterator[_Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for name in ("image", "problem", "solution"):
                if name not in file.schema_arrow.names:
                    raise InputError(f"{path}: the column '{name}' is missing; expected image, problem, solution.")
            batches = file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=["image", "problem", "solution"])
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows):
                image = row["image"]
                content = image.get("bytes") if isinstance(image, Mapping) else image
                name = (image.get("path") if isinstance(image, Mapping) else None) or f"{path.name}#{number}"
                picture = content if isinstance(content, bytes) else None
                yield name, picture, str(row["problem"] or ""), str(row["solution"] or "")
    except (pa.ArrowException, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: this is not a readable parquet file ({reason}); get it again.") from None


@contextmanager
def _pictures(images: Path | None) -> Iterator[_READER]:
    """How to read a picture by the name that the JSON gives it: out of a zip archive, or below a folder."""
    if images is None:
        raise InputError("the released JSON names its pictures only; give the archive or the folder with --images.")
    if images.is_dir():
        yield lambda name: _below(images, name)
        return
    try:
        archive = zipfile.ZipFile(images)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{images}: this is no zip archive that can be read ({error}); get it again.") from None
    with archive:
        yield lambda name: _member(archive, name)


def _below(folder: Path, name: str) -> bytes:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or path.stat().st_size > MAX_PICTURE_BYTES:
        raise OSError(name)
    return path.read_bytes()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > MAX_PICTURE_BYTES:
        raise OSError(name)
    return archive.read(info)


def _read_or_none(read: _READER, name: str) -> bytes | None:
    try:
        return read(name)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}); correct its name.") from None
