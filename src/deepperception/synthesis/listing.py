"""A listing of your own: CSV or parquet, a line for each photo.

Columns: `path` (relative to the listing) or, in parquet, `image` (the file's bytes, or a struct that holds them as
`bytes`); `category` (not needed where synthesis.source.category names the one there is); `entity`; and, as far as they
are known, the box as `x1`, `y1`, `x2`, `y2` in pixels of the upright photo, `licence`, and `id`. Further columns are of
no concern here. The `options` may give the columns other names: `options: {entity: species}`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from deepperception.errors import InputError
from deepperception.settings import Settings, parse
from deepperception.synthesis.config import SourceConfig
from deepperception.synthesis.listed import Entry, ListedSource, Spool, Spooled
from deepperception.synthesis.sources import PixelBox, Tally

_ROWS_AT_ONCE = 32


class ListingOptions(Settings):
    """What the columns are called."""

    id: str = "id"
    path: str = "path"
    image: str = "image"
    category: str = "category"
    entity: str = "entity"
    licence: str = "licence"
    box: tuple[str, str, str, str] = Field(default=("x1", "y1", "x2", "y2"), description="Left, top, right, bottom.")


def listing(config: SourceConfig, seed: int) -> ListedSource:
    """The source of kind `listing`."""
    return ListedSource(config, read_listing)


def read_listing(config: SourceConfig, left_out: Tally) -> Iterator[Entry]:
    """The lines of a .csv, .tsv or .parquet file; InputError names the line and column that cannot be understood."""
    assert config.path is not None
    columns = parse(config.options, ListingOptions, where="synthesis.source.options")
    rows = {".csv": _csv_rows, ".tsv": _csv_rows, ".parquet": _parquet_rows}.get(config.path.suffix.lower())
    if rows is None:
        raise InputError(f"{config.path}: a listing is a .csv, .tsv or .parquet file; give one of these.")
    spool = Spool()
    for number, row in rows(config.path, columns):
        yield _entry(row, columns, config, f"{config.path}, line {number}", spool)


def _csv_rows(path: Path, columns: ListingOptions) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            _require(path, reader.fieldnames or [], columns)
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: this is no CSV in UTF-8 ({error}); save it as such.") from None


def _parquet_rows(path: Path, columns: ListingOptions) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            names = file.schema_arrow.names
            _require(path, names, columns)
            wanted = {columns.id, columns.path, columns.image, columns.category, columns.entity, columns.licence}
            read = [name for name in names if name in wanted | set(columns.box)]
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=read):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: this is not a readable parquet file ({reason}); give a listing.") from None


def _require(path: Path, names: Any, columns: ListingOptions) -> None:
    if columns.entity not in names:
        raise InputError(f"{path}: the column '{columns.entity}' is missing; a listing names each photo's entity.")
    if columns.path not in names and columns.image not in names:
        raise InputError(
            f"{path}: there is no column '{columns.path}' nor '{columns.image}'; a listing says where the photos are."
        )


def _entry(row: Mapping[str, Any], columns: ListingOptions, config: SourceConfig, where: str, spool: Spool) -> Entry:
    assert config.path is not None
    entity, category = row.get(columns.entity), row.get(columns.category) or config.category
    if not isinstance(entity, str) or not entity.strip():
        raise InputError(f"{where}: the column '{columns.entity}' is empty; name what the photo shows.")
    if not isinstance(category, str) or not category.strip():
        raise InputError(
            f"{where}: the column '{columns.category}' is empty; fill it, or set synthesis.source.category."
        )
    picture: Path | Spooled
    if path := row.get(columns.path):
        picture, identity = config.path.parent / str(path), str(path)
    else:
        content = row.get(columns.image)
        content = content.get("bytes") if isinstance(content, Mapping) else content
        if not isinstance(content, bytes) or not content:
            raise InputError(f"{where}: neither '{columns.path}' nor '{columns.image}' holds a photo; give one.")
        picture, identity = spool.add(content), f"{config.path.name}#{where.rsplit(' ', 1)[1]}"
    box = _box(row, columns, where)
    return Entry(
        id=str(row.get(columns.id) or identity),
        picture=picture,
        category=category,
        entity=entity,
        where=where,
        boxes=(box,) if box else (),
        licence=str(row.get(columns.licence) or "").strip(),
    )


def _box(row: Mapping[str, Any], columns: ListingOptions, where: str) -> PixelBox | None:
    """The four numbers; None where all of them are left blank."""
    values = [row.get(name) for name in columns.box]
    if all(value is None or value == "" for value in values):
        return None
    try:
        x1, y1, x2, y2 = (float(str(value)) for value in values)
        if not all(map(math.isfinite, (x1, y1, x2, y2))):
            raise ValueError
    except ValueError:
        names = ", ".join(columns.box)
        raise InputError(f"{where}: the box ({names}) should be four numbers and is {values}; correct it.") from None
    return x1, y1, x2, y2
