"""Dataset rows in parquet: KVG-Bench's columns first, so that a benchmark is a dataset and a dataset can be scored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from deepperception.artifacts.columns import check_columns
from deepperception.artifacts.disk import replacing, reporting_full_disk
from deepperception.errors import InputError
from deepperception.grounding import Box, Object, Sample, Source, Split, entity_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SEEN_IN_KVG_BENCH = frozenset({"aircraft", "car", "reptilia", "bird", "food"})
KVG_COLUMNS = ("question_id", "category", "question", "answer", "image")
_ROWS_AT_ONCE = 32
_TEXT_ROWS_AT_ONCE = 1024  # without their pictures


def write_rows(path: Path, samples: Iterable[Sample], *, rows_per_group: int = 256) -> int:
    """Write a dataset file, a row group at a time; returns the number of rows.

    The same samples give the same bytes. The file appears only when it is whole; InputError on a full disk.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    texts = [name for name in schema.names if name != "image"]
    rows = iter(samples)
    written = 0
    with (
        reporting_full_disk(path),
        replacing(path) as temporary,
        # Pictures are compressed already, and statistics over them would repeat whole files in the footer.
        pq.ParquetWriter(
            temporary,
            schema,
            compression={name: "ZSTD" for name in texts} | {"image.bytes": "NONE"},
            use_dictionary=[name for name in texts if name in ("category", "split")],
            write_statistics=texts,
        ) as writer,
    ):
        while group := [_to_row(sample) for sample in islice(rows, rows_per_group)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=rows_per_group)
            written += len(group)
    return written


def read_rows(path: Path, *, seen: Collection[str] | None = None) -> Iterator[Sample]:
    """The samples of a dataset or of a plain KVG-Bench file, in order, a few in memory at a time.

    `seen` names the categories that count as seen. Without it a file's own `seen` column decides; where there is none,
    the five that KVG-Bench trains on. Columns that a plain benchmark lacks come out empty, its split as test.

    A folder of parquet shards is read like one file, in order of their names. InputError names the file and the
    column, or the row (counted from 1), of whatever is wrong.
    """
    for sample in rows_or_faults(path, seen=seen):
        if isinstance(sample, InputError):
            raise sample
        yield sample


def rows_or_faults(
    path: Path, *, seen: Collection[str] | None = None, pictures: bool = True
) -> Iterator[Sample | InputError]:
    """As `read_rows`, with the error in the place of each row that is wrong, so that the others can be read.

    Without `pictures` they are not read from the disk either: the samples hold none. InputError is raised for what is
    wrong with the whole file.
    """
    for file in shards_of(path):
        yield from _read_file(file, seen, pictures)


def _read_file(path: Path, seen: Collection[str] | None, pictures: bool) -> Iterator[Sample | InputError]:
    with opened(path) as file:
        check_columns(path, file.schema_arrow, _schema(), required=KVG_COLUMNS)
        names = set(file.schema_arrow.names)
        columns = [name for name in _schema().names if name in names and (pictures or name != "image")]
        for number, row in enumerate(raw_rows(path, file, columns), start=1):
            try:
                yield _from_row(row, seen)
            except InputError as error:
                yield InputError(f"{path}, row {number}: {error}")


def sound_rows(path: Path, *, seen: Collection[str] | None = None, pictures: bool = True) -> Iterator[Sample]:
    """Those of `rows_or_faults` that nothing is wrong with: what an evaluation of the file has cases of."""
    return (row for row in rows_or_faults(path, seen=seen, pictures=pictures) if isinstance(row, Sample))


def question_ids(path: Path) -> Iterator[str]:
    """The ids of all rows, in order; "" where a row has none. Reads no other column."""
    for shard in shards_of(path):
        with opened(shard) as file:
            check_columns(shard, file.schema_arrow, _schema(), required=KVG_COLUMNS)
            for row in raw_rows(shard, file, ["question_id"]):
                yield "" if row["question_id"] is None else str(row["question_id"])


def count_rows(path: Path) -> int:
    """The number of rows, from the footer of the file, or of each shard."""
    rows = 0
    for shard in shards_of(path):
        with opened(shard) as file:
            rows += int(file.metadata.num_rows)
    return rows


def shards_of(path: Path) -> list[Path]:
    """The parquet files of a dataset: itself, or those in the folder in order of their names; at least one."""
    if not path.is_dir():
        return [path]
    if shards := sorted(path.glob("*.parquet")):
        return shards
    raise InputError(f"{path}: this folder holds no parquet files; give a dataset or benchmark in parquet.")


def opened(path: Path) -> pq.ParquetFile:
    """The parquet file, its footer read; InputError where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a dataset or benchmark in parquet.")
    try:
        return pq.ParquetFile(path, pre_buffer=False)  # buffering ahead reads the whole file into memory
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: this is not a readable parquet file ({_first_line(error)}); give a dataset or benchmark."
        ) from None


def raw_rows(path: Path, file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows as the file holds them. Only opening it has read no data yet: damage in a page is met here."""
    import pyarrow as pa

    at_once = _ROWS_AT_ONCE if "image" in columns else _TEXT_ROWS_AT_ONCE
    batches = file.iter_batches(batch_size=at_once, columns=columns)
    read = 0
    while True:
        try:
            rows = next(batches).to_pylist()
        except StopIteration:
            return
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}, after row {read}: the data is damaged ({_first_line(error)}); get the file again."
            ) from None
        read += len(rows)
        yield from rows


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("question_id", pa.string()),
            ("category", pa.string()),
            ("question", pa.string()),
            ("answer", pa.string()),
            ("image", pa.struct([("bytes", pa.binary())])),
            ("entity", pa.string()),
            ("objects", pa.list_(pa.struct([("entity", pa.string()), ("box", pa.list_(pa.float64()))]))),
            ("reasoning", pa.string()),
            ("sources", pa.list_(pa.struct([("id", pa.string()), ("licence", pa.string())]))),
            ("split", pa.string()),
            ("seen", pa.bool_()),
            ("box_origins", pa.list_(pa.string())),
        ]
    )


def _to_row(sample: Sample) -> dict[str, Any]:
    return {
        "question_id": sample.question_id,
        "category": sample.category,
        "question": sample.question,
        "answer": sample.answer,
        "image": {"bytes": sample.image},
        "entity": sample.entity,
        "objects": [{"entity": thing.entity, "box": list(thing.box.as_tuple())} for thing in sample.objects],
        "reasoning": sample.reasoning,
        "sources": [{"id": source.id, "licence": source.licence} for source in sample.sources],
        "split": sample.split,
        "seen": sample.seen,
        "box_origins": list(sample.box_origins),
    }


def _from_row(row: Mapping[str, Any], seen: Collection[str] | None) -> Sample:
    category = text_of(row, "category")
    question = text_of(row, "question")
    sample = Sample(
        question_id=text_of(row, "question_id"),
        category=category,
        question=question,
        answer=text_of(row, "answer"),
        image=image_of(row["image"]) if "image" in row else b"",
        entity=row.get("entity") or entity_of(question),
        objects=tuple(_object(thing) for thing in row.get("objects") or ()),
        reasoning=row.get("reasoning"),
        sources=tuple(source_of(source) for source in row.get("sources") or ()),
        split=split_of(row.get("split")),
        seen=is_seen(category, row.get("seen"), seen),
        box_origins=tuple(row.get("box_origins") or ()),
    )
    _ = sample.target  # an answer that cannot be scored is found here, not hours later
    return sample


def text_of(row: Mapping[str, Any], column: str) -> str:
    """A column that every row must fill."""
    value = row[column]
    if value is None or value == "":
        raise InputError(f"the column '{column}' is empty; every row needs one.")
    return str(value)


def image_of(value: Any) -> bytes:
    """The encoded file, with or without a struct around it."""
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(content, bytes) or not content:
        raise InputError("the picture is missing; the column 'image' holds the bytes of an image file.")
    return content


def _object(thing: Mapping[str, Any] | None) -> Object:
    if thing is None or not thing["entity"]:
        raise InputError("one of the 'objects' has no entity; name each.")
    return Object(thing["entity"], _box(thing["box"]))


def source_of(source: Mapping[str, Any] | None) -> Source:
    """One photo that a picture was made of."""
    if source is None or source["id"] is None:
        raise InputError("one of the 'sources' has no id; give each photo's name.")
    return Source(source["id"], source["licence"] or "unknown")


def _box(corners: Any) -> Box:
    if not isinstance(corners, list) or len(corners) != 4 or any(corner is None for corner in corners):
        raise InputError(f"the box {corners!r} of an object has not four numbers; expected x1, y1, x2, y2.")
    return Box(*corners)


def split_of(value: str | None) -> Split:
    """The row's split; a plain benchmark is for testing."""
    if value is not None and value not in get_args(Split):
        raise InputError(f"the split is '{value}'; expected one of {', '.join(get_args(Split))}.")
    return cast(Split, value or "test")


def is_seen(category: str, own: bool | None, seen: Collection[str] | None) -> bool:
    """By `seen` where it is given, else by the row's own word, else by KVG-Bench's categories."""
    if seen is None and own is not None:
        return own
    return category in (SEEN_IN_KVG_BENCH if seen is None else seen)
