"""Dataset rows survive the file, plain KVG-Bench files are read, and faults name their row."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepperception.artifacts import count_rows, read_rows, write_rows
from deepperception.errors import InputError
from deepperception.grounding import Box, Object, Sample, Source

MakeSample = Callable[..., Sample]
KVG = ("question_id", "category", "question", "answer", "image")


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def plain(sample: MakeSample) -> Callable[..., dict[str, Any]]:
    """A row with KVG-Bench's columns only."""

    def make(number: int = 0, **columns: Any) -> dict[str, Any]:
        row = sample(number)
        return {name: getattr(row, name) for name in KVG} | {"image": {"bytes": row.image}} | columns

    return make


def test_rows_come_back_as_they_were(tmp_path: Path, sample: MakeSample) -> None:
    samples = [sample(n) for n in range(600)]
    samples[3] = sample(3, objects=(), reasoning=None, sources=(), split="test", seen=False)
    path = tmp_path / "sft.parquet"
    assert write_rows(path, iter(samples), rows_per_group=250) == 600
    assert list(read_rows(path)) == samples
    assert count_rows(path) == 600
    assert pq.ParquetFile(path).num_row_groups == 3


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, sample: MakeSample) -> None:
    for name in "ab":
        write_rows(tmp_path / name, (sample(n) for n in range(40)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_pictures_are_stored_as_they_are_and_once(tmp_path: Path, sample: MakeSample) -> None:
    picture = b"\x89PNG" + bytes(50_000)
    write_rows(tmp_path / "a", [sample(image=picture)])
    column = pq.ParquetFile(tmp_path / "a").metadata.row_group(0).column(4)
    assert (column.path_in_schema, column.compression, column.statistics) == ("image.bytes", "UNCOMPRESSED", None)
    assert 50_000 < (tmp_path / "a").stat().st_size < 60_000


def test_no_rows_are_a_dataset_too(tmp_path: Path) -> None:
    assert write_rows(tmp_path / "a", []) == 0
    assert (list(read_rows(tmp_path / "a")), count_rows(tmp_path / "a")) == ([], 0)


def test_reading_does_not_hold_the_file_in_memory(tmp_path: Path, sample: MakeSample) -> None:
    before = pa.total_allocated_bytes()
    write_rows(tmp_path / "a", (sample(n, image=bytes([n % 256]) * 100_000) for n in range(640)), rows_per_group=64)
    most = 0
    for _ in read_rows(tmp_path / "a"):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 30_000_000, "64 MB of pictures"


def test_a_failing_producer_leaves_no_file(tmp_path: Path, sample: MakeSample) -> None:
    def failing() -> Iterator[Sample]:
        yield sample()
        raise InputError("photo 2 is cut off")

    with pytest.raises(InputError, match="photo 2"):
        write_rows(tmp_path / "a", failing())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence(small_disk: Path, sample: MakeSample) -> None:
    with pytest.raises(InputError, match="a: the disk is full"):
        write_rows(small_disk / "a", (sample(n, image=bytes(100_000)) for n in range(10)), rows_per_group=2)
    assert not list(small_disk.iterdir())


def test_a_full_disk_met_by_pyarrow(tmp_path: Path, sample: MakeSample, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "[Errno 28] Error writing bytes to file. Detail: No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_rows(tmp_path / "a", [sample()])


def test_a_plain_benchmark_is_a_dataset(tmp_path: Path, plain: Callable[..., dict[str, Any]]) -> None:
    path = write_table(tmp_path / "kvg.parquet", [plain(0), plain(1, category="bird")])
    dog, bird = read_rows(path)
    assert (dog.entity, dog.objects, dog.reasoning, dog.sources, dog.split) == (
        "Clumber Spaniel 0",
        (),
        None,
        (),
        "test",
    )
    assert dog.target.as_tuple() == (10, 20, 510, 520)
    assert (dog.seen, bird.seen) == (False, True), "KVG-Bench trains on five categories, birds among them"


def test_further_columns_and_a_path_beside_the_bytes_do_no_harm(
    tmp_path: Path, plain: Callable[..., dict[str, Any]]
) -> None:
    path = write_table(tmp_path / "a", [plain(image={"bytes": b"x", "path": None}, licence="CC0")])
    assert next(read_rows(path)).image == b"x"


@pytest.mark.parametrize(
    ("column", "given", "seen", "why"),
    [
        (None, None, False, "dog is none of KVG-Bench's five"),
        (None, {"dog"}, True, "the user says so"),
        (True, None, True, "the file says so"),
        (True, set(), False, "the user's word goes before the file's"),
        (False, {"dog", "bird"}, True, "the user's word goes before the file's"),
    ],
)
def test_what_counts_as_seen(
    tmp_path: Path,
    plain: Callable[..., dict[str, Any]],
    column: bool | None,
    given: set[str] | None,
    seen: bool,
    why: str,
) -> None:
    path = write_table(tmp_path / "a", [plain() if column is None else plain(seen=column)])
    assert next(read_rows(path, seen=given)).seen is seen, why


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"answer": "there is none"}, "holds no box"),
        ({"answer": None}, "the column 'answer' is empty"),
        ({"answer": "<|box_start|>(510,520),(10,20)<|box_end|>"}, "reversed"),
        ({"answer": "<|box_start|>(10,20),(1510,520)<|box_end|>"}, "leaves the frame"),
        ({"question": "Where is it?"}, "names no entity"),
        ({"question_id": None}, "the column 'question_id' is empty"),
        ({"category": ""}, "the column 'category' is empty"),
        ({"image": {"bytes": None}}, "the picture is missing"),
        ({"image": {"bytes": b""}}, "the picture is missing"),
        ({"split": "training"}, "the split is 'training'; expected one of train, validation, test"),
        ({"objects": [{"entity": "Pug", "box": [1.0, 2.0, 3.0]}]}, "has not four numbers"),
        ({"objects": [{"entity": "Pug", "box": [5.0, 2.0, 3.0, 9.0]}]}, "reversed"),
        ({"objects": [{"entity": None, "box": [1.0, 2.0, 3.0, 4.0]}]}, "one of the 'objects' has no entity"),
        ({"objects": [None]}, "one of the 'objects' has no entity"),
        ({"sources": [{"id": None, "licence": "CC0-1.0"}]}, "one of the 'sources' has no id"),
    ],
)
def test_a_fault_names_file_and_row(
    tmp_path: Path, plain: Callable[..., dict[str, Any]], columns: dict[str, Any], message: str
) -> None:
    good = {name: None for name in columns if name in ("split", "objects", "sources")}
    path = write_table(tmp_path / "kvg.parquet", [plain(0, **good), plain(1, **columns)])
    rows = read_rows(path)
    next(rows)
    with pytest.raises(InputError, match=rf"kvg.parquet, row 2: .*{message}"):
        next(rows)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"seen": "false"}, "the column 'seen' is of type string; expected bool"),
        ({"objects": ["Pug"]}, "the column 'objects' is of type list<.*: string>; expected list<"),
        ({"objects": [{"name": "Pug", "bbox": [1.0, 2.0, 3.0, 4.0]}]}, "'objects' is of type .*bbox.*; expected .*box"),
        ({"objects": [{"entity": "Pug", "box": "1,2,3,4"}]}, "'objects' is of type .*box: string"),
        ({"sources": [{"id": "dog/1"}]}, "'sources' is of type .*; expected .*licence: string"),
        ({"image": {"path": "dog.jpg"}}, "'image' is of type .*; expected struct<bytes: binary>"),
        ({"image": "dog.jpg"}, "'image' is of type string; expected struct"),
        ({"category": 3}, "'category' is of type int64; expected string"),
        ({"answer": [1, 2]}, "'answer' is of type list<"),
    ],
)
def test_a_column_of_another_type_names_file_and_column(
    tmp_path: Path, plain: Callable[..., dict[str, Any]], columns: dict[str, Any], message: str
) -> None:
    path = write_table(tmp_path / "kvg.parquet", [plain(**columns)])
    with pytest.raises(InputError, match=rf"kvg.parquet: .*{message}") as caught:
        next(read_rows(path))
    assert "\n" not in str(caught.value)


def test_types_that_hold_the_same_are_read(tmp_path: Path, plain: Callable[..., dict[str, Any]]) -> None:
    row = plain(
        question_id=7,
        objects=[{"entity": "Pug", "box": [1, 2, 3, 4], "area": 4}],
        sources=[{"id": "dog/1", "licence": None, "url": "https://example.org"}],
        reasoning=None,
    )
    table = pa.Table.from_pylist([row])
    category = table.schema.get_field_index("category")
    table = table.set_column(category, "category", table["category"].dictionary_encode())
    question = table.schema.get_field_index("question")
    table = table.set_column(question, "question", table["question"].cast(pa.large_string()))
    image = table.schema.get_field_index("image")
    table = table.set_column(image, "image", pa.array([b"x"], pa.large_binary()))
    pq.write_table(table, tmp_path / "a")
    read = next(read_rows(tmp_path / "a"))
    assert (read.question_id, read.category, read.image) == ("7", "dog", b"x")
    assert read.objects == (Object("Pug", Box(1, 2, 3, 4)),)
    assert read.sources == (Source("dog/1", "unknown"),)


def test_a_damaged_page_names_file_and_place(tmp_path: Path, plain: Callable[..., dict[str, Any]]) -> None:
    path = tmp_path / "kvg.parquet"
    rows = [plain(number, question=plain()["question"] + " " + "where? " * number) for number in range(80)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=40, compression="zstd", use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(1)
    names = [group.column(number).path_in_schema for number in range(group.num_columns)]
    column = group.column(names.index("question"))
    content = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    content[middle - 20 : middle + 20] = bytes(40)
    path.write_bytes(content)
    rows_read = read_rows(path)
    with pytest.raises(InputError, match=r"kvg.parquet, after row \d+: the data is damaged \(") as caught:
        list(rows_read)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_dataset_is_refused(tmp_path: Path, plain: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "text.parquet").write_text("question_id,category\n")
    whole = write_table(tmp_path / "whole.parquet", [plain()]).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    write_table(tmp_path / "columns.parquet", [{"question_id": "dog/1"}])
    for name, message in (
        ("absent.parquet", "no such file"),
        ("text.parquet", "not a readable parquet file"),
        ("cut.parquet", "not a readable parquet file"),
        ("columns.parquet", "the column 'category' is missing"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            next(read_rows(tmp_path / name))
        assert "\n" not in str(caught.value)
