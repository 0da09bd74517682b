"""Frames from other things: tables of any library, dicts, rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from keyloom import _convert, _keyloom
from keyloom.dataframe import DataFrame
from keyloom.exceptions import InvalidError
from keyloom.session import current_session

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = ["from_arrow", "from_pandas", "from_polars", "from_pydict", "from_pylist"]


def from_arrow(data: Any) -> DataFrame:
    """A frame of the rows of any Arrow-compatible table or stream, or of a list of them.

    Example:
        >>> import keyloom, pyarrow
        >>> keyloom.from_arrow(pyarrow.table({"x": [1, 2]})).count_rows()
        2
    """
    session = current_session()
    stream = _convert.stream(data)
    try:
        rows = _keyloom.Batches(stream)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # What its generator raises is the user's own.
        if isinstance(data, pa.RecordBatchReader):
            raise
        raise _convert.no_rows(data, error) from error
    return DataFrame(session._rust.frame_of(rows), session)


def from_pydict(data: Mapping[str, Any]) -> DataFrame:
    """A frame of a dict of columns: lists, arrays of NumPy, or of any Arrow-compatible library.

    An array of NumPy of two dimensions is a column of vectors.

    Raises:
        InvalidError: The columns differ in length, or values of one have no common type.

    Example:
        >>> import keyloom
        >>> keyloom.from_pydict({"x": [1, 2], "y": ["a", None]}).to_pylist()
        [{'x': 1, 'y': 'a'}, {'x': 2, 'y': None}]
    """
    return from_arrow(_convert.columns(data))


def from_pylist(data: Iterable[Mapping[str, Any]]) -> DataFrame:
    """A frame of rows that are dicts. What a row lacks is null there.

    Example:
        >>> import keyloom
        >>> keyloom.from_pylist([{"x": 1}, {"x": 2, "y": "a"}]).to_pydict()
        {'x': [1, 2], 'y': [None, 'a']}
    """
    return from_arrow(_convert.rows(list(data)))


def from_pandas(data: pandas.DataFrame | list[pandas.DataFrame]) -> DataFrame:
    """A frame of a pandas frame, or of a list of them. Indexes are left out.

    Example:
        >>> import keyloom, pandas
        >>> keyloom.from_pandas(pandas.DataFrame({"x": [1, 2]})).to_pydict()
        {'x': [1, 2]}
    """
    frames = data if isinstance(data, list) else [data]
    if not frames:
        raise InvalidError("a list of frames names at least one")
    first, *rest = (from_arrow(_convert.table(frame)) for frame in frames)
    for frame in rest:
        first = first.concat(frame)
    return first


def from_polars(data: polars.DataFrame) -> DataFrame:
    """A frame of a Polars frame.

    Example:
        >>> import keyloom, polars
        >>> keyloom.from_polars(polars.DataFrame({"x": [1, 2]})).to_pydict()
        {'x': [1, 2]}
    """
    return from_arrow(data)
