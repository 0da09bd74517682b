"""``kv_get``, ``kv_batch_get``, ``kv_get_all`` and ``kv_exists``: columns that are looked up in stores.

Which store is meant is settled when an expression is built: the one under ``source`` in the current
session, or its current store. Columns and keys are checked then, too, and nothing is read before a frame
is collected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from keyloom._lookups import OnError, check_options, names_of
from keyloom.exceptions import InvalidError
from keyloom.expressions import Expression, column_or_expression, struct
from keyloom.session import current_session

__all__ = ["kv_batch_get", "kv_exists", "kv_get", "kv_get_all"]

Key: TypeAlias = Expression | str | Sequence[str | Expression]
"""A key: an expression, a column's name, or several of them that are a key together."""


def kv_get(
    row_ids: Key,
    columns: str | Sequence[str] | None = None,
    on_error: OnError = "raise",
    source: str | None = None,
    max_misses: int | str | None = None,
) -> Expression:
    """Looks keys up in a store.

    Args:
        row_ids: The keys, an expression or a column's name.
        columns: The columns wanted, in this order; all of the store if not given.
        on_error: What a missing key means: ``"raise"`` fails the query, ``"null"`` gives a null.
        source: The alias of the store; the current store's if not given.
        max_misses: The most rows that may miss their keys, as a number or as a share of those that
            ask, like ``"1%"``: missing keys give nulls, whatever ``on_error`` says, and more of them
            fail the query.

    Returns:
        A struct a row, of the columns wanted. It is null, as a whole, for a null key and, under
        ``on_error="null"``, for a missing one.

    Raises:
        NotFoundError: There is no such store, or none is current.
        InvalidError: The store has no such columns, ``max_misses`` is neither a number nor a share, or
            nothing says what the store's key is.

    Example:
        >>> import keyloom
        >>> from keyloom.functions.kv import kv_get
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
        ...     df = keyloom.from_pydict({"who": ["ann", "bob"]})
        ...     age = kv_get("who", "value", "null", source="ages")
        ...     df.with_column("age", age).to_pydict()
        {'who': ['ann', 'bob'], 'age': [{'value': 30}, None]}
    """
    return _call("kv_get", row_ids, columns, on_error, source, None, max_misses)


def kv_batch_get(
    row_ids: Key,
    columns: str | Sequence[str] | None = None,
    batch_size: int = 1000,
    on_error: OnError = "raise",
    source: str | None = None,
    max_misses: int | str | None = None,
) -> Expression:
    """Looks lists of keys up in a store.

    Args:
        row_ids: The lists of keys, an expression or a column's name.
        columns: The columns wanted, in this order; all of the store if not given.
        batch_size: The most keys that one request to the store carries.
        on_error: What a missing key means: ``"raise"`` fails the query, ``"null"`` gives a null.
        source: The alias of the store; the current store's if not given.
        max_misses: The most rows that may miss their keys, as a number or as a share of those that
            ask, like ``"1%"``: missing keys give nulls, whatever ``on_error`` says, and more of them
            fail the query. Each element of a list counts by itself.

    Returns:
        A list of structs a row, of the length and in the order of its keys; null for a null list. For
        a column of single keys, what :func:`kv_get` returns.

    Raises:
        NotFoundError: There is no such store, or none is current.
        InvalidError: The store has no such columns, or ``batch_size`` is 0.

    Example:
        >>> import keyloom
        >>> from keyloom.functions.kv import kv_batch_get
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40}))
        ...     df = keyloom.from_pydict({"who": [["ann", "bob"], []]})
        ...     df.select(kv_batch_get("who", source="ages", columns="value")).to_pydict()
        {'ages': [[{'value': 30}, {'value': 40}], []]}
    """
    return _call("kv_batch_get", row_ids, columns, on_error, source, batch_size, max_misses)


def kv_get_all(
    row_ids: Key,
    columns: str | Sequence[str] | None = None,
    on_error: OnError = "raise",
    source: str | None = None,
    max_misses: int | str | None = None,
) -> Expression:
    """Looks up all rows that hold keys, whatever the store's ``on_duplicate_key`` says.

    Args:
        row_ids: The keys, an expression or a column's name.
        columns: The columns wanted, in this order; all of the store if not given.
        on_error: What a missing key means: ``"raise"`` fails the query, ``"null"`` gives a null.
        source: The alias of the store; the current store's if not given.
        max_misses: As for :func:`kv_get`.

    Returns:
        A list of structs a row, in the order in which the store holds them. It is null for a null key
        and, under ``on_error="null"``, for a missing one.

    Raises:
        NotFoundError: There is no such store, or none is current.
        InvalidError: The store has no such columns, or nothing says what its key is.

    Example:
        >>> import keyloom
        >>> from keyloom.functions.kv import kv_get_all
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
        ...     df = keyloom.from_pydict({"who": ["ann", "bob"]})
        ...     df.select(kv_get_all("who", "value", "null", source="ages").alias("all")).to_pydict()
        {'all': [[{'value': 30}], None]}
    """
    return _call("kv_get_all", row_ids, columns, on_error, source, None, max_misses)


def kv_exists(row_ids: Key, on_error: OnError = "raise", source: str | None = None) -> Expression:
    """Asks a store whether it holds keys. No values are read.

    Args:
        row_ids: The keys, an expression or a column's name.
        on_error: Taken for likeness: a missing key is an answer here, not an error.
        source: The alias of the store; the current store's if not given.

    Returns:
        A boolean a row, null for a null key.

    Raises:
        NotFoundError: There is no such store, or none is current.

    Example:
        >>> import keyloom
        >>> from keyloom.functions.kv import kv_exists
        >>> from keyloom.kv import load_kv
        >>> with keyloom.Session():
        ...     _ = keyloom.attach(load_kv("memory", name="ages", initial_data={"ann": 30}))
        ...     df = keyloom.from_pydict({"who": ["ann", "bob", None]})
        ...     df.select(kv_exists("who", source="ages").alias("known")).to_pydict()
        {'known': [True, False, None]}
    """
    return _call("kv_exists", row_ids, None, on_error, source, None)


def _call(
    function: str,
    row_ids: Any,
    columns: str | Sequence[str] | None,
    on_error: str,
    source: str | None,
    batch_size: int | None,
    max_misses: int | str | None = None,
) -> Expression:
    if isinstance(row_ids, (list, tuple)) and not row_ids:
        raise InvalidError("a key of several columns names at least one")
    key = struct(*row_ids) if isinstance(row_ids, (list, tuple)) else column_or_expression(row_ids)
    check_options(on_error, batch_size)
    names = names_of(columns)
    wanted = None if names is None else list(names)
    if max_misses is not None and (
        not isinstance(max_misses, (int, str)) or isinstance(max_misses, bool)
    ):
        raise TypeError(f"max_misses is a number of rows or a share as '1%', not {max_misses!r}")
    missing = (on_error, None if max_misses is None else str(max_misses))
    session = current_session()
    call = session._rust.kv_call(function, key._expr, source, wanted, missing, batch_size)
    return Expression(call, key.name(), store=call.store())
