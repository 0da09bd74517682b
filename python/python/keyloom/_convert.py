"""Rows of all kinds of objects as pyarrow tables, without copies where they are Arrow already."""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from keyloom.exceptions import InvalidError


def table(data: Any) -> pa.Table:
    """The rows of a table of any Arrow-compatible library, a pandas frame, a dict or a list of dicts."""
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if _is_pandas(data):
        return _of_pandas(data)
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        try:
            return pa.table(data)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise no_rows(data, error) from error
    if isinstance(data, Mapping):
        return columns(data)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        return rows(list(data))
    raise TypeError(f"a table of rows cannot be made of {type(data).__name__}")


def no_rows(data: Any, error: Exception) -> InvalidError:
    """Why something that exports Arrow has no rows that a frame can have."""
    kind = f"{type(data).__module__.partition('.')[0]}'s {type(data).__name__}"
    return InvalidError(f"{kind} is no table of rows that can be read: {error}")


def _of_pandas(data: Any) -> pa.Table:
    if not hasattr(data, "columns"):
        raise TypeError(
            f"a frame of pandas is wanted, not a {type(data).__name__}: to_frame() is one"
        )
    if not len(data.columns):
        return _without_columns(len(data))
    # Its own stream would make a column of the index.
    try:
        rows = pa.Table.from_pandas(data, preserve_index=False)
        for at, field in enumerate(rows.schema):
            if _are_objects(data.iloc[:, at]) and _may_lose(field.type):
                rows = rows.set_column(at, field.name, _inferred(data.iloc[:, at]))
        return rows
    except (ValueError, TypeError, pa.ArrowNotImplementedError) as error:
        raise InvalidError(f"a frame of pandas: {error}") from error


def _without_columns(rows: int) -> pa.Table:
    empty = pa.array([{}] * rows, pa.struct([]))
    return pa.Table.from_batches([pa.RecordBatch.from_struct_array(empty)])


def stream(data: Any) -> Any:
    """Rows as something that exports an Arrow stream, which they are if they do already."""
    return data if hasattr(data, "__arrow_c_stream__") and not _is_pandas(data) else table(data)


def columns(data: Mapping[str, Any]) -> pa.Table:
    """The columns of a dict of columns."""
    for name, values in data.items():
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            raise InvalidError(
                f"column '{name}' is a list or an array, not {type(values).__name__}"
            )
    arrays = {name: _named(name, values) for name, values in data.items()}
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) > 1:
        each = ", ".join(f"'{name}' has {len(values)}" for name, values in arrays.items())
        raise InvalidError(f"the columns differ in length: {each}")
    return pa.table(arrays)


def _named(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if not isinstance(name, str):
        raise TypeError(f"a column has a name, not a {type(name).__name__}: {name!r}")
    if "\0" in name:
        raise InvalidError(f"column {name!r}: Arrow has no names with the character 0")
    try:
        return column(values)
    except InvalidError as error:
        raise InvalidError(f"column '{name}': {error}") from error


def column(values: Any) -> pa.Array | pa.ChunkedArray:
    """An array of any Arrow-compatible library, of NumPy, or of Python values."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    # Of Python's values, pandas knows no better.
    of_python = _is_pandas(values) and _are_objects(values)
    if hasattr(values, "__arrow_c_stream__") and not of_python:
        return pa.chunked_array(values)
    if hasattr(values, "__arrow_c_array__"):
        return pa.array(values)
    if not hasattr(values, "__len__"):
        values = list(values)
    if _is_matrix(values):
        flat = pa.array(values.reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    try:
        return _inferred(values)
    except (ValueError, TypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise InvalidError(f"the values have no common type: {error}") from error


def _inferred(values: Any) -> pa.Array | pa.ChunkedArray:
    """An array of the type that pyarrow finds for Python values, if it holds them as they are."""
    try:
        array = pa.array(values, from_pandas=_is_pandas(values) or None)
    except OverflowError:
        # Of whole numbers, it tries those with a sign alone.
        if not all(value is None or isinstance(value, numbers.Integral) for value in values):
            raise
        return pa.array(values, pa.uint64())
    are_python = isinstance(values, (list, tuple)) or _are_objects(values)
    if not are_python or not _may_lose(array.type):
        return array
    there = values.dropna() if _is_pandas(values) else values
    if pa.types.is_date32(array.type):
        _refuse_times(there)
    elif any(map(_has_nanoseconds, there)):
        is_moment = pa.types.is_timestamp(array.type)
        finer = pa.timestamp("ns", array.type.tz) if is_moment else pa.duration("ns")
        return pa.array(values, finer, from_pandas=_is_pandas(values) or None)
    return array


def _may_lose(kind: pa.DataType) -> bool:
    """Whether pyarrow finds that type also for values that it then cuts: to days, to microseconds."""
    types = pa.types
    return bool(types.is_date32(kind) or types.is_timestamp(kind) or types.is_duration(kind))


def _has_nanoseconds(value: Any) -> bool:
    """Whether a value of pandas is finer than Python's are."""
    return bool(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0))


def _refuse_times(values: Iterable[Any]) -> None:
    """Refuses times of day among dates."""
    for value in values:
        if isinstance(value, datetime.datetime):
            raise InvalidError(f"{value!r} stands among dates, and is more than one")


def rows(data: Sequence[Any]) -> pa.Table:
    """The rows of a list of dicts, or of Arrow tables; a key that a row lacks is null there."""
    if data and all(
        hasattr(part, "__arrow_c_stream__") or hasattr(part, "__arrow_c_array__") for part in data
    ):
        tables = [table(part) for part in data]
        try:
            return pa.concat_tables(tables)
        except pa.ArrowInvalid as error:
            raise InvalidError(f"the tables differ in their columns: {error}") from error
    names: dict[str, None] = {}
    for row in data:
        if not isinstance(row, Mapping):
            raise InvalidError(f"a list of rows holds dicts, not {type(row).__name__}")
        names.update(dict.fromkeys(row))
    if not names:
        return _without_columns(len(data))
    return pa.table({name: _named(name, [row.get(name) for row in data]) for name in names})


def store_rows(name: str, data: Any, key: list[str] | None) -> tuple[pa.Table, list[str]]:
    """The rows and the key of a memory store."""
    try:
        if data is None or (isinstance(data, Mapping) and not data and key is None):
            empty = pa.schema(
                [pa.field("key", pa.string(), nullable=False), ("value", pa.string())]
            )
            return empty.empty_table(), ["key"]
        if isinstance(data, Mapping) and key is None:
            return _pairs(data), ["key"]
        return table(data), key or ["key"]
    except InvalidError as error:
        raise InvalidError(f"KV store '{name}': {error}") from error


def _pairs(data: Mapping[Any, Any]) -> pa.Table:
    keys, values = list(data.keys()), list(data.values())
    dicts = sum(isinstance(value, Mapping) for value in values)
    if dicts == 0:
        return pa.table({"key": _named("key", keys), "value": _named("value", values)})
    if dicts < len(values):
        raise InvalidError("some values are dicts and some are not")
    fields = rows(values)
    if "key" in fields.column_names:
        raise InvalidError(
            "the values have a field 'key', which is what the column of keys is called"
        )
    columns = zip(fields.column_names, fields.columns, strict=True)
    return pa.table({"key": _named("key", keys), **dict(columns)})


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas"


def _are_objects(values: Any) -> bool:
    """Whether an array of NumPy or a series of pandas holds Python's objects."""
    return str(getattr(values, "dtype", None)) == "object"


def _is_matrix(values: Any) -> bool:
    return type(values).__module__ == "numpy" and values.ndim == 2 and values.shape[1] > 0
