"""Multiple-choice rows in parquet: question_id, category, question, choices[4], answer (a letter), image{bytes}."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepperception.artifacts import datasets
from deepperception.artifacts.columns import check_columns
from deepperception.artifacts.disk import replacing, reporting_full_disk
from deepperception.errors import InputError
from deepperception.grounding import ChoiceSample

if TYPE_CHECKING:
    import pyarrow as pa

CHOICE_COLUMNS = ("question_id", "category", "question", "choices", "answer", "image")
_ROWS_AT_ONCE = 256


def holds_choices(path: Path) -> bool:
    """Whether a dataset file asks multiple-choice questions: it then has a column of choices."""
    with datasets.opened(path) as file:
        return "choices" in file.schema_arrow.names


def write_choices(path: Path, samples: Iterable[ChoiceSample]) -> int:
    """Write a file of multiple-choice rows, a row group at a time; returns their number. Same samples, same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    texts = [name for name in schema.names if name != "image"]
    compression = {name: "ZSTD" for name in texts if name != "choices"}
    rows, written = iter(samples), 0
    with (
        reporting_full_disk(path),
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression=compression | {"choices.list.element": "ZSTD", "image.bytes": "NONE"},
            use_dictionary=["category", "split"],
            write_statistics=["question_id", "category"],
        ) as writer,
    ):
        while group := [_to_row(sample) for sample in islice(rows, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=_ROWS_AT_ONCE)
            written += len(group)
    return written


def read_choices(path: Path, *, seen: Collection[str] | None = None) -> Iterator[ChoiceSample]:
    """The rows in order, a few in memory at a time; `seen` as for `read_rows`.

    InputError names the file and the column, or the row (counted from 1), of whatever is wrong.
    """
    with datasets.opened(path) as file:
        check_columns(path, file.schema_arrow, _schema(), required=CHOICE_COLUMNS)
        columns = [name for name in _schema().names if name in file.schema_arrow.names]
        for number, row in enumerate(datasets.raw_rows(path, file, columns), start=1):
            try:
                yield _from_row(row, seen)
            except InputError as error:
                raise InputError(f"{path}, row {number}: {error}") from None


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("question_id", pa.string()),
            ("category", pa.string()),
            ("question", pa.string()),
            ("choices", pa.list_(pa.string())),
            ("answer", pa.string()),
            ("image", pa.struct([("bytes", pa.binary())])),
            ("reasoning", pa.string()),
            ("sources", pa.list_(pa.struct([("id", pa.string()), ("licence", pa.string())]))),
            ("split", pa.string()),
            ("seen", pa.bool_()),
        ]
    )


def _to_row(sample: ChoiceSample) -> dict[str, Any]:
    return {
        "question_id": sample.question_id,
        "category": sample.category,
        "question": sample.question,
        "choices": list(sample.choices),
        "answer": sample.answer,
        "image": {"bytes": sample.image},
        "reasoning": sample.reasoning,
        "sources": [{"id": source.id, "licence": source.licence} for source in sample.sources],
        "split": sample.split,
        "seen": sample.seen,
    }


def _from_row(row: Mapping[str, Any], seen: Collection[str] | None) -> ChoiceSample:
    category = datasets.text_of(row, "category")
    choices = row["choices"] or ()
    return ChoiceSample(
        question_id=datasets.text_of(row, "question_id"),
        category=category,
        question=datasets.text_of(row, "question"),
        choices=tuple(str(name or "") for name in choices),
        answer=datasets.text_of(row, "answer").strip(),
        image=datasets.image_of(row["image"]),
        reasoning=row.get("reasoning"),
        sources=tuple(datasets.source_of(source) for source in row.get("sources") or ()),
        split=datasets.split_of(row.get("split")),
        seen=datasets.is_seen(category, row.get("seen"), seen),
    )
