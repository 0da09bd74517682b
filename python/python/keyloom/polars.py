"""Lookups in Polars: importing this module gives frames, eager and lazy ones, the namespace ``keyloom``.

Example:
    >>> import keyloom, keyloom.polars
    >>> import polars as pl
    >>> from keyloom.kv import load_kv
    >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
    >>> df = pl.DataFrame({"who": ["bob", "ann"]})
    >>> df.keyloom.kv_get("who", "value", source=ages).to_dict(as_series=False)
    {'who': ['bob', 'ann'], 'ages': [{'value': 40}, {'value': 30}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import pyarrow as pa

from keyloom._embed import Call
from keyloom._lookups import Columns, OnError, names_of
from keyloom.kv import AttachedKV, KVStore
from keyloom.session import source_kv

try:
    import polars as pl
except ImportError as error:
    raise ImportError("keyloom.polars needs Polars: pip install 'keyloom[polars]'") from error

__all__ = ["KVNamespace"]

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

Key: TypeAlias = str | Sequence[str] | pl.Expr
"""A key: a column's name, the names of several that are a key together, or an expression."""

Source = str | KVStore | AttachedKV | None
"""A store: its alias in the current session, the store itself, or the session's current store."""


class KVNamespace(Generic[Frame]):
    """``frame.keyloom``: the three functions, each of which adds a column to the frame.

    Which store is meant, its columns and the type of the keys are settled in the call, and nothing is
    looked up before a lazy frame is collected. Its optimizer knows the type of the column, and asks for
    no keys of rows that it filters out by other columns, nor for a column that nobody wants.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame: Frame = frame

    def kv_get(
        self,
        key: Key,
        columns: Columns = None,
        on_error: OnError = "raise",
        source: Source = None,
        output: str | None = None,
    ) -> Frame:
        """Looks keys up in a store.

        Args:
            key: The keys: a column, several that are a key together, or an expression.
            columns: The columns wanted, in this order; all of the store if not given.
            on_error: What a missing key means: ``"raise"`` is an error, ``"null"`` gives a null.
            source: The alias of the store, or a store; the current store if not given.
            output: The name of the column that is added, or replaced; the alias of the store if not
                given, or the name that the store has without one.

        Returns:
            The frame with a column of structs, which is null, as a whole, for a null key and, under
            ``on_error="null"``, for a missing one.

        Raises:
            NotFoundError: There is no such store, or, when it is computed, no such key.
            InvalidError: The store has no such columns, or keys of another type.
        """
        return self._add("kv_get", key, columns, on_error, None, source, output)

    def kv_batch_get(
        self,
        key: Key,
        columns: Columns = None,
        batch_size: int = 1000,
        on_error: OnError = "raise",
        source: Source = None,
        output: str | None = None,
    ) -> Frame:
        """Looks lists of keys up in a store.

        Args:
            key: The lists of keys, as for :meth:`kv_get`.
            columns: The columns wanted, in this order; all of the store if not given.
            batch_size: The most keys that one request to the store carries.
            on_error: What a missing key means: ``"raise"`` is an error, ``"null"`` gives a null.
            source: As for :meth:`kv_get`.
            output: As for :meth:`kv_get`.

        Returns:
            The frame with a column of lists of structs, of the length and in the order of the keys; null
            for a null list. For a column of single keys, as :meth:`kv_get`.

        Raises:
            NotFoundError: There is no such store, or, when it is computed, no such key.
            InvalidError: The store has no such columns, or keys of another type.
        """
        return self._add("kv_batch_get", key, columns, on_error, batch_size, source, output)

    def kv_exists(
        self,
        key: Key,
        on_error: OnError = "raise",
        source: Source = None,
        output: str | None = None,
    ) -> Frame:
        """Asks a store whether it holds keys. No values are read.

        Args:
            key: The keys, as for :meth:`kv_get`.
            on_error: Taken for likeness: a missing key is an answer here, not an error.
            source: As for :meth:`kv_get`.
            output: The name of the column; the alias of the store with ``_exists`` behind it if not
                given.

        Returns:
            The frame with a column of booleans, null for null keys.

        Raises:
            NotFoundError: There is no such store.
        """
        return self._add("kv_exists", key, None, on_error, None, source, output)

    def _add(
        self,
        function: str,
        key: Key,
        columns: Columns,
        on_error: str,
        batch_size: int | None,
        source: Source,
        output: str | None,
    ) -> Frame:
        store = _store(source)
        keys, names = _keys(key)
        call = Call(store, function, names_of(columns), on_error, batch_size, names)
        if output is None:
            output = store.alias if isinstance(store, AttachedKV) else store.name
            output += "_exists" if function == "kv_exists" else ""
        asked = self._frame.lazy().select(keys).collect_schema().dtypes()[0]
        answers = call.type_for(pl.Series(dtype=asked).to_arrow().type)
        added: pl.Series | pl.Expr
        if isinstance(self._frame, pl.DataFrame):
            added = _series(output, call.answers(self._frame.select(keys).to_series()))
        else:
            added = keys.map_batches(
                lambda batch: _series(batch.name, call.answers(batch)),
                return_dtype=_series("", pa.array([], answers)).dtype,
                is_elementwise=True,
            ).alias(output)
        with_column: Frame = self._frame.with_columns(added)
        return with_column


def _store(source: Source) -> KVStore | AttachedKV:
    if isinstance(source, (KVStore, AttachedKV)):
        return source
    return source_kv(source)


def _keys(key: Key) -> tuple[pl.Expr, tuple[str, ...] | None]:
    """The keys, and the names of the columns that they are."""
    if isinstance(key, str):
        return pl.col(key), (key,)
    if isinstance(key, pl.Expr):
        return key, (key.meta.output_name(),) if key.meta.is_column() else None
    return pl.struct(*key), tuple(key)


def _series(name: str, answers: Any) -> pl.Series:
    return pl.Series(name, answers)


for _register in (pl.api.register_dataframe_namespace, pl.api.register_lazyframe_namespace):
    _register("keyloom")(KVNamespace)
