"""Where rows are written: outputs by the options of job files, and single files of this process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from keyloom._security import StrPath
from keyloom.exceptions import InvalidError, NotFoundError

IfExists: TypeAlias = Literal["error", "overwrite", "append"]
"""What becomes of files that are there."""

LanceIfExists: TypeAlias = Literal["error", "overwrite", "append", "upsert", "add_columns"]
"""What becomes of a dataset that is there."""

Output: TypeAlias = StrPath | Mapping[str, Any]
"""Where workers write rows: a path that says all, or the options of an ``[output]`` in a job file."""

_PARQUET_COMPRESSIONS = ("none", "snappy", "gzip", "brotli", "lz4", "zstd")


def output(path: StrPath, **options: Any) -> str:
    """An output as the compiled module takes it. Options that are ``None`` are not given."""
    return described({"path": path, **options})


def described(output: Output) -> str:
    """An output that a user describes, as the compiled module takes it."""
    given = dict(output) if isinstance(output, Mapping) else {"path": output}
    for name in {"path", "uri"} & given.keys():
        given[name] = _path(given[name])
    return json.dumps({name: value for name, value in given.items() if value is not None})


def _path(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"a path is a string or a Path, not {type(path).__name__}")
    return os.path.expanduser(os.fsdecode(path))


def names(columns: str | Iterable[str] | None) -> list[str] | None:
    """One name, or several, as a list of them."""
    if columns is None:
        return None
    return [columns] if isinstance(columns, str) else list(columns)


def mode(if_exists: str | None, alias: str, given: str | None) -> str | None:
    """What becomes of what is there, which Daft says by another word."""
    if if_exists is not None and given is not None:
        raise InvalidError(f"if_exists and {alias} are one option; give one of them")
    said = if_exists if given is None else given
    # Daft's word for it, of a dataset.
    return "error" if said == "create" else said


def parquet_file(
    path: StrPath,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    compression: str | None,
) -> tuple[str, int, int]:
    """Writes one file from this process, whole or not at all: its path, rows and bytes."""
    import pyarrow.parquet as pq

    target = Path(_path(path))
    if "://" in os.fsdecode(path):
        scheme = os.fsdecode(path).partition("://")[0]
        raise InvalidError(f"with single_file, files of this machine are written, not {scheme}://")
    compression = "snappy" if compression is None else compression
    if compression.lower() not in _PARQUET_COMPRESSIONS:
        choices = ", ".join(_PARQUET_COMPRESSIONS)
        raise InvalidError(f"compression is one of {choices}, not '{compression}'")
    unfinished = target.with_name(f".{target.name}.unfinished")
    rows = 0
    if not target.parent.is_dir():
        raise NotFoundError(f"there is no folder {target.parent} to write {target.name} to")
    try:
        with pq.ParquetWriter(unfinished, schema, compression=compression) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        size = unfinished.stat().st_size
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return str(target), rows, size
