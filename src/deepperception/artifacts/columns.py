"""Whether the columns of somebody else's parquet file can be read as ours."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from deepperception.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def check_columns(path: Path, found: pa.Schema, expected: pa.Schema, *, required: Collection[str]) -> None:
    """InputError names a required column that is missing, or one whose type is not what is expected of its name.

    Types that hold the same (large or dictionary-encoded text, whole numbers for decimal ones) will do, as will further
    columns, further fields of a struct, and a column that is empty throughout. A question_id may be a whole
    number, and an image its bytes without a struct around them.
    """
    import pyarrow as pa

    names = set(found.names)
    for name in required:
        if name not in names:
            raise InputError(f"{path}: the column '{name}' is missing; a dataset has at least {', '.join(required)}.")
    for name in expected.names:
        if name not in names:
            continue
        if len(places := found.get_all_field_indices(name)) > 1:
            raise InputError(f"{path}: there are {len(places)} columns '{name}'; keep one of them.")
        actual, wanted = found.field(name).type, expected.field(name).type
        also_fits = (name == "question_id" and pa.types.is_integer(actual)) or (
            name == "image" and _fits(actual, pa.binary())
        )
        if not also_fits and not _fits(actual, wanted):
            raise InputError(f"{path}: the column '{name}' is of type {actual}; expected {wanted}.")


def _fits(actual: pa.DataType, wanted: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    if isinstance(actual, pa.BaseExtensionType):
        actual = actual.storage_type
    if types.is_dictionary(actual):
        actual = actual.value_type
    if types.is_null(actual):
        return True
    if types.is_struct(wanted):
        if not types.is_struct(actual):
            return False
        return all(
            actual.get_field_index(field.name) >= 0 and _fits(actual.field(field.name).type, field.type)
            for field in wanted
        )
    if types.is_list(wanted):
        is_list = types.is_list(actual) or types.is_large_list(actual) or types.is_fixed_size_list(actual)
        return is_list and _fits(actual.value_type, wanted.value_type)
    if types.is_string(wanted):
        return types.is_string(actual) or types.is_large_string(actual)
    if types.is_binary(wanted):
        return types.is_binary(actual) or types.is_large_binary(actual) or types.is_fixed_size_binary(actual)
    if types.is_floating(wanted):
        return types.is_floating(actual) or types.is_integer(actual)
    return bool(actual == wanted)
