"""Lookups inside other engines: stores that travel by value, and answers of types that all of them know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from keyloom._lookups import _array
from keyloom.exceptions import InvalidError
from keyloom.kv import AttachedKV, KVStore, LanceKV, MemoryKV, OtherKV


def by_value(store: Any) -> KVStore:
    """The description of a store, under the alias that it has in its session, if it has one.

    It can be pickled, and is asked in the process where it is, also if the session is a cluster's. In
    every process it reads the version of a dataset that is the newest here and now.

    Raises:
        TypeError: It is no store.
    """
    if not isinstance(store, (KVStore, AttachedKV)):
        raise TypeError(f"a store is what load_kv or attach returned, not {type(store).__name__}")
    described = store._store if isinstance(store, AttachedKV) else store
    name = store.alias if isinstance(store, AttachedKV) else store.name
    if isinstance(described, MemoryKV):
        return MemoryKV(name, described._rows, described._key)
    if isinstance(described, OtherKV):
        kind, place = described.backend_type, described._place
        return OtherKV(name, kind, place, described._key, described._options)
    if not isinstance(described, LanceKV):
        raise TypeError(f"a {type(described).__name__} cannot be copied")
    options = described._options
    if "tag" not in options:
        options = {**options, "version": LanceKV(name, options)._open().version()}
    return LanceKV(name, options)


@dataclass(frozen=True)
class Call:
    """One of the functions on one store, to be made for many arrays of keys.

    ``key`` names the columns that are looked up, if nothing else says what the store's key is.
    """

    store: KVStore | AttachedKV
    function: str
    columns: tuple[str, ...] | None
    on_error: str
    batch_size: int | None = None
    key: tuple[str, ...] | None = None

    def answers(self, keys: Any) -> pa.Array:
        """The answers for keys of any Arrow-compatible library, one for each and in their order."""
        asked = self.store._lookup(
            self.function, self.columns, self.on_error, self.batch_size, self.key
        )
        answers = asked.answers(_array(keys))
        wanted = plain_type(answers.type)
        return answers if wanted == answers.type else answers.cast(wanted)

    def type_for(self, keys: pa.DataType) -> pa.DataType:
        """The type of the answers for keys of a type. Nothing is looked up; the store is opened.

        Raises:
            InvalidError: The call, or the type of the keys, does not fit the store.
        """
        return self.answers(pa.array([], keys)).type


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """The type without dictionaries and views, which not every engine can hold."""
    types = pa.types
    if types.is_dictionary(data_type):
        return plain_type(data_type.value_type)
    if types.is_string_view(data_type):
        return pa.string()
    if types.is_binary_view(data_type):
        return pa.binary()
    if types.is_struct(data_type):
        return pa.struct([_plain_field(data_type.field(at)) for at in range(data_type.num_fields)])
    if types.is_fixed_size_list(data_type):
        return pa.list_(_plain_field(data_type.value_field), data_type.list_size)
    if types.is_large_list(data_type):
        return pa.large_list(_plain_field(data_type.value_field))
    if types.is_list(data_type):
        return pa.list_(_plain_field(data_type.value_field))
    return data_type


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(plain_type(field.type))


def add_columns(taken: Sequence[str], new: Sequence[str], key: Sequence[str]) -> list[str]:
    """The new columns to add to those that are there: all but the key's, which is there already.

    Raises:
        InvalidError: Another name is taken.
    """
    added = [name for name in new if not (name in key and name in taken)]
    for name in added:
        if name in taken:
            raise InvalidError(
                f"there is a column '{name}' already, and the store has one; "
                "columns= says which of the store's are wanted"
            )
    return added
