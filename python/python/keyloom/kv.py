"""Stores: what they are (:func:`load_kv`), and what they are once attached (:class:`AttachedKV`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa

from keyloom import _convert, _keyloom
from keyloom._lookups import Lookups, OnError
from keyloom.exceptions import InvalidError

if TYPE_CHECKING:
    from keyloom.session import Session

__all__ = [
    "AttachedKV",
    "ClusterKV",
    "KVStore",
    "LanceKV",
    "MemoryKV",
    "OnError",
    "OtherKV",
    "load_kv",
]

_LANCE_OPTIONS: dict[str, tuple[type, str]] = {
    "version": (int, "a whole number"),
    "tag": (str, "the name of a tag"),
    "storage_options": (str, "the name of a profile in the workers' settings"),
    "on_duplicate_key": (str, "'error', 'first' or 'last'"),
    "key_path": (str, "'auto', 'map', 'scan' or 'btree'"),
    "row_path": (str, "'auto', 'take' or 'scan'"),
    "requests_in_flight": (int, "a whole number"),
    "request_timeout_ms": (int, "a whole number"),
    "request_attempts": (int, "a whole number"),
}
"""The options of Lance stores beside their uri and key, and what they are."""


class KVStore(Lookups):
    """A store as it is described; :func:`load_kv` and :meth:`other` make them. Nothing is opened
    before it is attached, or asked by itself.

    Stores are described by value: they can be pickled, and open again in another process.
    """

    backend_type: str = ""

    def __init__(self, name: str) -> None:
        self._name = name
        self._prepared = {}
        self._opened: _keyloom.OpenStore | None = None

    @staticmethod
    def other(
        kind: str,
        place: str | Path,
        *,
        name: str | None = None,
        key: str | list[str] | None = None,
        **options: str | float | bool,
    ) -> OtherKV:
        """Describes a store of a kind that the workers know beside those of :func:`load_kv`. They say
        at attach whether there is such a kind, and which options it has.

        Args:
            kind: The word for the kind.
            place: Where it is, as the kind has it: a path or a URI that the workers can open, a host.
                Text is passed on as it stands, a ``Path`` as an absolute one. No credentials.
            name: The store's own name; the kind if not given.
            key: The column that keys are looked up in, or a list of columns that are a key together;
                without one, what the store declares.
            **options: What the kind takes, and the bounds that all kinds take: ``batch_keys``,
                ``requests_in_flight``, ``request_timeout_ms`` and ``request_attempts``. Secrets stay on
                the workers.

        Raises:
            InvalidError: An option is no text, number or truth, or may be a secret.

        Example:
            >>> from keyloom.kv import KVStore
            >>> KVStore.other("redis", "localhost:6379", key="id", batch_keys=100)
            OtherKV(name='redis', kind='redis', place='localhost:6379')
        """
        name = kind if name is None else name
        keys = [key] if isinstance(key, str) else key
        texts = {option: _text(name, option, value) for option, value in options.items()}
        # Workers have other folders.
        place = str(place.absolute()) if isinstance(place, Path) else place
        return OtherKV(name, kind, place, keys, texts)

    def _called(self) -> str:
        return self._name

    def _open(self) -> _keyloom.OpenStore:
        if self._opened is None:
            from keyloom.session import process_session

            self._opened = process_session()._rust.open_store(self._rust())
        return self._opened

    def refresh(self) -> None:
        """Opens the store again at the next lookup: at the newest version of a dataset."""
        self._opened = None
        self._prepared = {}

    @property
    def name(self) -> str:
        """The store's own name, which is its alias if no other is given."""
        return self._name

    def _rust(self) -> _keyloom.Store:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self._name!r})"


class LanceKV(KVStore):
    """A Lance dataset as a store."""

    backend_type = "lance"

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        super().__init__(name)
        self._options = dict(options)
        self._store = _keyloom.Store.lance(name, json.dumps(self._options))

    def _rust(self) -> _keyloom.Store:
        return self._store

    def __reduce__(self) -> Any:
        return (LanceKV, (self._name, self._options))

    def __repr__(self) -> str:
        return f"LanceKV(name={self._name!r}, uri={self._options['uri']!r})"


class MemoryKV(KVStore):
    """Rows in memory as a store. It is a copy: what changes afterwards in what it was made of does not
    change it."""

    backend_type = "memory"

    def __init__(self, name: str, rows: pa.Table, key: list[str]) -> None:
        super().__init__(name)
        self._rows = rows
        self._key = key
        self._store = _keyloom.Store.memory(name, _keyloom.Batches(rows), key)

    def _rust(self) -> _keyloom.Store:
        return self._store

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __reduce__(self) -> Any:
        return (MemoryKV, (self._name, self._rows, self._key))

    def __repr__(self) -> str:
        return f"MemoryKV(name={self._name!r}, rows={self._rows.num_rows})"


class OtherKV(KVStore):
    """A store of a kind that the workers know by its word."""

    def __init__(
        self,
        name: str,
        kind: str,
        place: str,
        key: list[str] | None,
        options: dict[str, str],
    ) -> None:
        super().__init__(name)
        self.backend_type = kind
        self._place = place
        self._key = key
        self._options = options
        self._store = _keyloom.Store.other(name, kind, place, key, options)

    def _rust(self) -> _keyloom.Store:
        return self._store

    def __reduce__(self) -> Any:
        return (
            OtherKV,
            (self._name, self.backend_type, self._place, self._key, self._options),
        )

    def __repr__(self) -> str:
        kind = self.backend_type
        return f"OtherKV(name={self._name!r}, kind={kind!r}, place={self._place!r})"


class ClusterKV(KVStore):
    """A store that the cluster of a session describes. It is asked through the session alone."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(name)
        self.backend_type = kind

    def _rust(self) -> _keyloom.Store:
        raise InvalidError(
            f"KV store '{self._name}' is described by the cluster; use its name in a session on it"
        )

    def __reduce__(self) -> Any:
        raise TypeError("a store of a cluster cannot be pickled; use its name in a session on it")

    def __repr__(self) -> str:
        return f"ClusterKV(name={self._name!r}, kind={self.backend_type!r})"


class AttachedKV(Lookups):
    """A store of a session, under an alias. It stays what it was when it was asked for, also if another
    store gets its alias."""

    def __init__(self, session: Session, alias: str, store: KVStore) -> None:
        self._session = session
        self._alias = alias
        self._store = store
        self._prepared = {}
        self._opened = session._rust.open_kv(alias)

    def _called(self) -> str:
        return self._alias

    def _open(self) -> _keyloom.OpenStore:
        return self._opened

    def __reduce__(self) -> Any:
        raise TypeError("a store of a session cannot be pickled; pickle what load_kv returned")

    def refresh(self) -> AttachedKV:
        """Attaches the store again, at the newest version of a dataset, for lookups without a query.
        Queries read the newest version in any case."""
        if isinstance(self._store, ClusterKV):
            self._session.detach_kv(self._alias)
            return self._session.get_kv(self._alias)
        return self._session.attach(self._store, self._alias, replace=True)

    @property
    def name(self) -> str:
        """The store's own name."""
        return self._store.name

    @property
    def alias(self) -> str:
        """The name by which ``source=`` finds it."""
        return self._alias

    @property
    def backend_type(self) -> str:
        """``"lance"``, ``"memory"``, or the word for another kind."""
        return self._store.backend_type

    @property
    def version(self) -> int | None:
        """The version of the dataset that lookups without a query read; ``None`` for memory."""
        return self._open().version()

    @property
    def schema(self) -> pa.Schema:
        """The columns of the store, the key's among them."""
        return self._opened.schema()

    def __repr__(self) -> str:
        return f"AttachedKV(alias={self._alias!r}, store={self._store!r})"


@overload
def load_kv(
    store_type: Literal["lance"],
    name: str | None = None,
    *,
    uri: str | Path,
    key: str | list[str] | None = None,
    key_column: str | list[str] | None = None,
    version: int | None = None,
    tag: str | None = None,
    storage_options: str | None = None,
    on_duplicate_key: Literal["error", "first", "last"] | None = None,
    key_path: Literal["auto", "map", "scan", "btree"] | None = None,
    row_path: Literal["auto", "take", "scan"] | None = None,
    requests_in_flight: int | None = None,
    request_timeout_ms: int | None = None,
    request_attempts: int | None = None,
) -> LanceKV: ...


@overload
def load_kv(
    store_type: Literal["memory"],
    name: str | None = None,
    *,
    initial_data: Any = None,
    key: str | list[str] | None = None,
    key_column: str | list[str] | None = None,
) -> MemoryKV: ...


@overload
def load_kv(
    store_type: str,
    name: str | None = None,
    *,
    uri: str | Path | None = None,
    key: str | list[str] | None = None,
    key_column: str | list[str] | None = None,
    initial_data: Any = None,
    **options: Any,
) -> KVStore: ...


def load_kv(
    store_type: str,
    name: str | None = None,
    *,
    uri: Any = None,
    key: str | list[str] | None = None,
    key_column: str | list[str] | None = None,
    initial_data: Any = None,
    **options: Any,
) -> KVStore:
    """Describes a store, of the kind ``"lance"`` or ``"memory"``.

    Args:
        store_type: The kind.
        name: The store's own name; the kind if not given.
        uri: Lance: the dataset, a path or a URI that the workers can open.
        key: The column that keys are looked up in, or a list of columns that are a key together. Of a
            Lance dataset also ``"_rowid"`` and ``"_offset"``; without one, the primary key that the
            dataset declares, else the column of the same name as the one that is looked up. Of memory:
            ``"key"``, unless it is given.
        key_column: Another word for ``key``.
        initial_data: Memory: a dict of keys to values, which become a column ``value``, or columns of
            their own if they are dicts; or a table with the key among its columns, as a dict of
            lists together with ``key``, a list of dicts, or of pandas, Polars or pyarrow. Nothing: an
            empty store.
        **options: Lance: ``version``, ``tag``, ``storage_options`` (the name of a profile in the
            workers' settings), ``on_duplicate_key`` (``"error"``, ``"first"`` or ``"last"``),
            ``requests_in_flight``, and of remote storage ``request_timeout_ms`` and
            ``request_attempts``.

    Raises:
        InvalidError: An option is missing, not understood, or contradicts another.

    Example:
        >>> from keyloom.kv import load_kv
        >>> load_kv("memory", name="features", initial_data={"item_1": "warm"})
        MemoryKV(name='features', rows=1)
    """
    if key is not None and key_column is not None:
        raise InvalidError("key and key_column are one option; give one of them")
    key = key if key is not None else key_column
    name = store_type if name is None else name
    if store_type == "lance":
        return _lance(name, uri, key, initial_data, options)
    if store_type == "memory":
        return _memory(name, uri, key, initial_data, options)
    raise InvalidError(
        f"KV store type '{store_type}' is not yet supported; the types are 'lance' and 'memory'"
    )


def _lance(name: str, uri: Any, key: Any, initial_data: Any, options: dict[str, Any]) -> LanceKV:
    if uri is None:
        raise InvalidError("uri is required for Lance KV store")
    if initial_data is not None:
        raise InvalidError(f"KV store '{name}': initial_data is for memory stores")
    _check(name, options, ("uri", "key", *_LANCE_OPTIONS))
    for option, value in options.items():
        kind, words = _LANCE_OPTIONS[option]
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            # The value may hold a secret.
            other = type(value).__name__
            raise InvalidError(f"KV store '{name}': {option} is {words}, not a {other}")
    given = {"uri": str(uri), "key": key, **options}
    return LanceKV(name, {option: value for option, value in given.items() if value is not None})


def _memory(name: str, uri: Any, key: Any, initial_data: Any, options: dict[str, Any]) -> MemoryKV:
    if uri is not None:
        raise InvalidError(f"KV store '{name}': uri is for Lance stores")
    _check(name, options, ("key", "initial_data"))
    keys = [key] if isinstance(key, str) else key
    rows, keys = _convert.store_rows(name, initial_data, keys)
    return MemoryKV(name, rows, keys)


def _text(name: str, option: str, value: Any) -> str:
    """An option as job files have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    # The value may hold a secret.
    other = type(value).__name__
    raise InvalidError(
        f"KV store '{name}': {option} is text, a number, True or False, not a {other}"
    )


def _check(name: str, options: Iterable[str], known: tuple[str, ...]) -> None:
    for option in options:
        if option not in known:
            choices = ", ".join(known)
            raise InvalidError(f"KV store '{name}' has no option '{option}'; it takes {choices}")
