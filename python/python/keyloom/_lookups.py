"""Lookups without a query: what attached stores and stores by themselves have in common."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import pyarrow as pa

from keyloom import _convert
from keyloom.exceptions import InvalidError, NotFoundError

if TYPE_CHECKING:
    from keyloom import _keyloom

OnError: TypeAlias = Literal["raise", "null"]
"""What a missing key means: an error, or a null."""

_SCALARS = (
    str,
    bytes,
    bytearray,
    memoryview,
    int,
    float,
    datetime.date,
    datetime.time,
    decimal.Decimal,
    uuid.UUID,
    Mapping,
)
"""What is one key, and not many."""

Columns: TypeAlias = str | Sequence[str] | None
"""Columns: one by its name, several in their order, or all."""

OneKey: TypeAlias = (
    str
    | bytes
    | int
    | float
    | datetime.date
    | decimal.Decimal
    | uuid.UUID
    | Mapping[str, Any]
    | None
)
"""One key, as Python has it: a null, too, and a dict for a key of several columns."""


def check_options(on_error: Any, batch_size: Any) -> None:
    """Refuses options of types that they cannot have; their values are looked at where they are used."""
    if not isinstance(on_error, str):
        raise InvalidError(f"on_error is 'raise' or 'null', not {on_error!r}")
    if batch_size is None:
        return
    if not hasattr(batch_size, "__index__") or isinstance(batch_size, bool):
        raise TypeError(f"batch_size is a whole number, not {batch_size!r}")
    if batch_size < 1:
        raise InvalidError(f"batch_size must be at least 1, not {batch_size!r}")


def names_of(names: Columns) -> tuple[str, ...] | None:
    """Columns as they are given, as a tuple."""
    if isinstance(names, str):
        return (names,)
    # Sets have no order.
    if isinstance(names, (bytes, set, frozenset, Mapping)) or not isinstance(
        names, (Iterable, type(None))
    ):
        raise TypeError(f"columns are a name or a list of names, not a {type(names).__name__}")
    return None if names is None else tuple(names)


class Lookups:
    """The methods of a store that answers by itself.

    In a session that is its own cluster they take microseconds, where the store's values are in memory;
    on a cluster each is a job. All of them read the version of a dataset that was the newest when the
    store was opened.
    """

    _prepared: dict[Any, _keyloom.Lookup]

    def _open(self) -> _keyloom.OpenStore:
        raise NotImplementedError

    def _called(self) -> str:
        """What messages call it."""
        raise NotImplementedError

    def _lookup(
        self,
        function: str,
        columns: Columns,
        on_error: str,
        batch_size: int | None,
        key: Columns,
    ) -> _keyloom.Lookup:
        wanted, keys = names_of(columns), names_of(key)
        name = (function, wanted, on_error, batch_size, keys)
        found = self._prepared.get(name)
        if found is None:
            check_options(on_error, batch_size)
            found = self._open().prepare(
                function,
                None if wanted is None else list(wanted),
                on_error,
                batch_size,
                None if keys is None else list(keys),
            )
            self._prepared[name] = found
        return found

    @overload
    def get(
        self,
        keys: OneKey,
        columns: Columns = None,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> dict[str, Any] | None: ...

    @overload
    def get(
        self,
        keys: Any,
        columns: Columns = None,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> pa.Array: ...

    def get(
        self,
        keys: Any,
        columns: Columns = None,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> Any:
        """Looks keys up.

        Args:
            keys: An array of keys of any Arrow-compatible library, of NumPy, a list; or one key, also
                as a pyarrow scalar.
            columns: The columns wanted, in this order; all of the store if not given.
            on_error: What a missing key means: ``"raise"`` is an error, ``"null"`` gives a null.
            key: The columns that are looked up, if nothing else says what the store's key is.

        Returns:
            A pyarrow array of structs, one for each key and in their order; a dict, or ``None``, for
            one key.

        Raises:
            NotFoundError: A key is missing.
            InvalidError: The store has no such columns, or keys of another type.

        Example:
            >>> import keyloom
            >>> from keyloom.kv import load_kv
            >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
            >>> ages.get("bob")
            {'key': 'bob', 'value': 40}
            >>> ages.get(["bob", "eve"], columns="value", on_error="null").to_pylist()
            [{'value': 40}, None]
        """
        return self._answer("kv_get", keys, columns, on_error, None, key)

    @overload
    def exists(self, keys: OneKey, *, key: Columns = None) -> bool | None: ...

    @overload
    def exists(self, keys: Any, *, key: Columns = None) -> pa.Array: ...

    def exists(self, keys: Any, *, key: Columns = None) -> Any:
        """Whether the store holds keys. No values are read.

        Returns:
            A pyarrow array of booleans, null for null keys; for one key, a bool, or ``None``.

        Raises:
            InvalidError: The store's keys are of another type.

        Example:
            >>> from keyloom.kv import load_kv
            >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
            >>> ages.exists("bob")
            True
            >>> ages.exists(["bob", "eve", None]).to_pylist()
            [True, False, None]
        """
        return self._answer("kv_exists", keys, None, "null", None, key)

    def batch_get(
        self,
        keys: Any,
        columns: Columns = None,
        batch_size: int = 1000,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> pa.Array:
        """Looks lists of keys up.

        Args:
            keys: An array of lists of keys, or a list of lists.
            columns: The columns wanted, in this order; all of the store if not given.
            batch_size: The most keys that one request to the store carries.
            on_error: What a missing key means: ``"raise"`` is an error, ``"null"`` gives a null.
            key: The columns that are looked up, if nothing else says what the store's key is.

        Returns:
            A pyarrow array: for each list of keys, a list of structs of the same length and order.

        Raises:
            NotFoundError: A key is missing.
            InvalidError: The store has no such columns, or ``batch_size`` is less than 1.

        Example:
            >>> from keyloom.kv import load_kv
            >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
            >>> ages.batch_get([["ann", "bob"], []], columns="value").to_pylist()
            [[{'value': 30}, {'value': 40}], []]
        """
        lookup = self._lookup("kv_batch_get", columns, on_error, batch_size, key)
        return lookup.answers(_array(keys))

    @overload
    async def aget(
        self,
        keys: OneKey,
        columns: Columns = None,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> dict[str, Any] | None: ...

    @overload
    async def aget(
        self,
        keys: Any,
        columns: Columns = None,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> pa.Array: ...

    async def aget(
        self,
        keys: Any,
        columns: Columns = None,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> Any:
        """As :meth:`get`, while the event loop goes on.

        Example:
            >>> import asyncio
            >>> from keyloom.kv import load_kv
            >>> ages = load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40})
            >>> asyncio.run(ages.aget("bob"))
            {'key': 'bob', 'value': 40}
        """
        return await _in_a_thread(self.get, keys, columns, on_error, key=key)

    @overload
    async def aexists(self, keys: OneKey, *, key: Columns = None) -> bool | None: ...

    @overload
    async def aexists(self, keys: Any, *, key: Columns = None) -> pa.Array: ...

    async def aexists(self, keys: Any, *, key: Columns = None) -> Any:
        """As :meth:`exists`, while the event loop goes on."""
        return await _in_a_thread(self.exists, keys, key=key)

    async def abatch_get(
        self,
        keys: Any,
        columns: Columns = None,
        batch_size: int = 1000,
        on_error: OnError = "raise",
        *,
        key: Columns = None,
    ) -> pa.Array:
        """As :meth:`batch_get`, while the event loop goes on."""
        return await _in_a_thread(self.batch_get, keys, columns, batch_size, on_error, key=key)

    def _answer(
        self,
        function: str,
        keys: Any,
        columns: Columns,
        on_error: str,
        batch_size: int | None,
        key: Columns,
    ) -> Any:
        lookup = self._lookup(function, columns, on_error, batch_size, key)
        keys = _one_of_numpy(keys)
        if isinstance(keys, pa.Scalar):
            return lookup.answers(pa.repeat(keys, 1))[0].as_py()
        if isinstance(keys, int) and not -(2**63) <= keys < 2**64:
            # Beyond all keys that there can be: missing, if the store's are integers.
            lookup.answers(pa.array([], pa.int64()))
            return _missing(self._called(), function, on_error, keys)
        if _is_null(keys) or isinstance(keys, _SCALARS):
            return lookup.answers(_array([keys]))[0].as_py()
        return lookup.answers(_array(keys))


async def _in_a_thread(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    # Imported here: it takes as long as the whole package.
    import asyncio

    return await asyncio.to_thread(call, *arguments, **options)


def _array(keys: Any) -> pa.Array:
    if isinstance(keys, pa.Array):
        return keys
    if isinstance(keys, list):
        keys = [_plain(key) for key in keys]
    array = _convert.column(keys)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _missing(store: str, function: str, on_error: str, key: int) -> bool | None:
    if function == "kv_exists":
        return False
    if on_error == "null":
        return None
    raise NotFoundError(f"Key not found in KV store '{store}': {key}")


def _one_of_numpy(key: Any) -> Any:
    """A scalar of NumPy as Python has it, and anything else as it is."""
    if type(key).__module__ != "numpy" or getattr(key, "ndim", None) != 0:
        return key
    item = key.item()
    # Python has no nanoseconds: a time would be a number.
    is_time = key.dtype.kind in "mM" and isinstance(item, int)
    return _convert.column(key.reshape(1))[0] if is_time else item


def _is_null(key: Any) -> bool:
    """Whether a key is null: pandas has words of its own for that."""
    return key is None or type(key).__name__ in ("NAType", "NaTType")


def _plain(key: Any) -> Any:
    if _is_null(key):
        return None
    if isinstance(key, uuid.UUID):
        return key.bytes
    if isinstance(key, (bytearray, memoryview)):
        return bytes(key)
    return key.as_py() if isinstance(key, pa.Scalar) else key
