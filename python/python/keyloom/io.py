"""Reading files and datasets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keyloom.dataframe import DataFrame
from keyloom.exceptions import InvalidError
from keyloom.session import current_session

__all__ = ["read", "read_csv", "read_ipc", "read_json", "read_lance", "read_parquet"]


def read(path: str | Path, **options: Any) -> DataFrame:
    """A frame of files: Parquet, CSV, JSON, Arrow IPC or Lance, by the endings of their names.

    Workers read them, so a path or a URL must mean the same to each of them. Nothing is read before the
    frame is collected, except what tells its columns.

    Args:
        path: A file, a folder, a glob, or a URL (``s3://``, ``gs://``, ``az://``, ``https://``).
        **options: ``format``, ``columns`` (types by name: ``{"zip": "text"}``), ``storage_options``,
            ``hive_partitioning``; for CSV ``delimiter``, ``quote``, ``escape``, ``comment``, ``header``,
            ``nulls``; for CSV and JSON ``infer_bytes``; for Lance ``version`` and ``tag``.

    Raises:
        NotFoundError: There is no such file.
        InvalidError: An option is not understood, or the files cannot be read as the options say.

    Example:
        >>> import keyloom, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "zips.csv")
        ...     _ = path.write_text("zip,city\\n01001,agawam\\n")
        ...     keyloom.read(path, columns={"zip": "text"}).to_pydict()
        {'zip': ['01001'], 'city': ['agawam']}
    """
    session = current_session()
    if not isinstance(path, (str, Path)):
        raise TypeError(f"a path is a string or a Path, not {type(path).__name__}")
    given = {"path": os.path.expanduser(path), **options}
    given = {name: value for name, value in given.items() if value is not None}
    return DataFrame(session._rust.read(json.dumps(given)), session)


def _read(path: Any, format: str, options: Mapping[str, Any]) -> DataFrame:
    if not isinstance(path, (list, tuple)):
        return read(path, format=format, **options)
    if not path:
        raise InvalidError("a list of paths names at least one")
    first, *rest = (read(part, format=format, **options) for part in path)
    for frame in rest:
        first = first.concat(frame)
    return first


def read_parquet(path: str | Path | Sequence[str | Path], **options: Any) -> DataFrame:
    """A frame of Parquet files: a path, a folder, a glob or a list of them. Options are those of
    :func:`read`.

    Example:
        >>> import keyloom, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = keyloom.from_pydict({"x": [1, 2]}).write_parquet(folder)
        ...     keyloom.read_parquet(folder).to_pydict()
        {'x': [1, 2]}
    """
    return _read(path, "parquet", options)


def read_csv(path: str | Path | Sequence[str | Path], **options: Any) -> DataFrame:
    """A frame of CSV files. Options are those of :func:`read`.

    Example:
        >>> import keyloom, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "ages.csv")
        ...     _ = path.write_text("who;age\\nann;30\\n")
        ...     keyloom.read_csv(path, delimiter=";").to_pydict()
        {'who': ['ann'], 'age': [30]}
    """
    return _read(path, "csv", options)


def read_json(path: str | Path | Sequence[str | Path], **options: Any) -> DataFrame:
    """A frame of files with a JSON object a line. Options are those of :func:`read`.

    Example:
        >>> import keyloom, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "ages.json")
        ...     _ = path.write_text('{"who": "ann", "age": 30}')
        ...     keyloom.read_json(path).to_pydict()
        {'who': ['ann'], 'age': [30]}
    """
    return _read(path, "json", options)


def read_ipc(path: str | Path | Sequence[str | Path], **options: Any) -> DataFrame:
    """A frame of Arrow IPC files. Options are those of :func:`read`.

    Example:
        >>> import keyloom, pathlib, pyarrow, tempfile
        >>> table = pyarrow.table({"x": [1, 2]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = str(pathlib.Path(folder, "numbers.arrow"))
        ...     with pyarrow.OSFile(path, "wb") as file:
        ...         with pyarrow.ipc.new_file(file, table.schema) as writer:
        ...             writer.write_table(table)
        ...     keyloom.read_ipc(path).to_pydict()
        {'x': [1, 2]}
    """
    return _read(path, "arrow", options)


def read_lance(uri: str | Path, version: int | None = None, **options: Any) -> DataFrame:
    """A frame of a Lance dataset: its newest version, another ``version``, or one with a ``tag``.

    Raises:
        NotFoundError: There is no such dataset, or it has no such version.

    Example:
        >>> import keyloom
        >>> keyloom.read_lance("items.lance", version=3).show()  # doctest: +SKIP
    """
    return read(uri, format="lance", version=version, **options)
