"""Lookups in Daft: ``kv_get``, ``kv_batch_get`` and ``kv_exists`` as Daft expressions.

They run in Daft's own engine, as batch functions, on whatever runner it uses; where Daft runs in other
processes, Keyloom is installed there, too. Stores are attached to Keyloom's session, which names of this
module are for (``attach``, ``set_kv`` …); :func:`install` adds those names to ``daft`` itself.

One expression should hold one lookup: ``df.with_column`` makes columns of them, which other expressions
use. Daft 0.7.26 confuses several calls of Python functions in one expression and answers wrongly. What is
made with operators and methods of lookups is refused where that would happen; functions of
``daft.functions`` cannot be watched. :func:`when` may be given several lookups.

Example:
    >>> import daft
    >>> import keyloom.daft as kv
    >>> _ = kv.attach(kv.load_kv("memory", name="ages", initial_data={"ann": 30, "bob": 40}))
    >>> df = daft.from_pydict({"who": ["bob", "ann"]})
    >>> df.with_column("age", kv.kv_get("who", source="ages")["value"]).to_pydict()
    {'who': ['bob', 'ann'], 'age': [40, 30]}
    >>> kv.detach_kv("ages")
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pyarrow as pa

from keyloom._embed import Call, by_value
from keyloom._lookups import Columns, OnError, names_of
from keyloom.exceptions import InvalidError
from keyloom.kv import KVStore, load_kv
from keyloom.session import (
    attach,
    attach_kv,
    current_kv,
    detach_kv,
    get_kv,
    has_kv,
    list_kv,
    set_kv,
    source_kv,
)

try:
    import daft
    from daft import DataType, Expression
except ImportError as error:
    raise ImportError("keyloom.daft needs Daft: pip install 'keyloom[daft]'") from error

__all__ = [
    "KVExpression",
    "WhenExpression",
    "attach",
    "attach_kv",
    "current_kv",
    "detach_kv",
    "get_kv",
    "has_kv",
    "install",
    "kv_batch_get",
    "kv_exists",
    "kv_get",
    "list_kv",
    "load_kv",
    "set_kv",
    "when",
]

Key: TypeAlias = Expression | str | Sequence[str]
"""A key: an expression, a column's name, or the names of several columns that are a key together."""


def kv_get(
    row_ids: Key,
    columns: Columns = None,
    on_error: OnError = "raise",
    source: str | None = None,
) -> KVExpression:
    """Looks keys up in a store.

    Args:
        row_ids: The keys, an expression or a column's name.
        columns: The columns wanted, in this order; all of the store if not given.
        on_error: What a missing key means: ``"raise"`` fails the query, ``"null"`` gives a null.
        source: The alias of the store; the current store's if not given.

    Returns:
        A Daft expression of structs of the columns wanted. It is null, as a whole, for a null key and,
        under ``on_error="null"``, for a missing one. The store opens now, at its newest version unless
        it was given another, and is asked in the processes that Daft runs in, in each of which it opens
        once more if it is not this one.

    Raises:
        NotFoundError: There is no such store, or none is current; when the query runs: no such key.
        InvalidError: The store has no such columns, or nothing says what its key is.

    Example:
        >>> import daft
        >>> import keyloom.daft as kv
        >>> _ = kv.attach(kv.load_kv("memory", name="names", initial_data={1: "ann"}))
        >>> df = daft.from_pydict({"id": [1, 2]})
        >>> df.select(kv.kv_get("id", "value", "null", source="names")).to_pydict()
        {'id': [{'value': 'ann'}, None]}
        >>> kv.detach_kv("names")
    """
    return _call("kv_get", row_ids, columns, on_error, source, None)


def kv_batch_get(
    row_ids: Key,
    columns: Columns = None,
    batch_size: int = 1000,
    on_error: OnError = "raise",
    source: str | None = None,
) -> KVExpression:
    """Looks lists of keys up in a store.

    Args:
        row_ids: The lists of keys, an expression or a column's name. A column of single keys is an error
            here: Daft wants to know the type of the answers before it knows that of the keys.
        columns: The columns wanted, in this order; all of the store if not given.
        batch_size: The most keys that one request to the store carries.
        on_error: What a missing key means: ``"raise"`` fails the query, ``"null"`` gives a null.
        source: The alias of the store; the current store's if not given.

    Returns:
        A Daft expression of lists of structs, of the length and in the order of the keys; null for a
        null list.

    Raises:
        NotFoundError: There is no such store, or none is current; when the query runs: no such key.
        InvalidError: The store has no such columns, or ``batch_size`` is 0.

    Example:
        >>> import daft
        >>> import keyloom.daft as kv
        >>> _ = kv.attach(kv.load_kv("memory", name="names", initial_data={1: "ann"}))
        >>> df = daft.from_pydict({"ids": [[1, 1], []]})
        >>> df.select(kv.kv_batch_get("ids", "value", source="names")).to_pydict()
        {'ids': [[{'value': 'ann'}, {'value': 'ann'}], []]}
        >>> kv.detach_kv("names")
    """
    return _call("kv_batch_get", row_ids, columns, on_error, source, batch_size)


def kv_exists(row_ids: Key, on_error: OnError = "raise", source: str | None = None) -> KVExpression:
    """Asks a store whether it holds keys. No values are read.

    Args:
        row_ids: The keys, an expression or a column's name.
        on_error: Taken for likeness: a missing key is an answer here, not an error.
        source: The alias of the store; the current store's if not given.

    Returns:
        A Daft expression of booleans, null for a null key.

    Raises:
        NotFoundError: There is no such store, or none is current.

    Example:
        >>> import daft
        >>> import keyloom.daft as kv
        >>> _ = kv.attach(kv.load_kv("memory", name="names", initial_data={1: "ann"}))
        >>> df = daft.from_pydict({"id": [1, 2, None]})
        >>> df.select(kv.kv_exists("id", source="names")).to_pydict()
        {'id': [True, False, None]}
        >>> kv.detach_kv("names")
    """
    return _call("kv_exists", row_ids, None, on_error, source, None)


def _call(
    function: str,
    row_ids: Key,
    columns: Columns,
    on_error: str,
    source: str | None,
    batch_size: int | None,
) -> KVExpression:
    store = source_kv(source)
    keys, names = _keys(row_ids)
    call = Call(by_value(store), function, names_of(columns), on_error, batch_size, names)
    return KVExpression._of(_Lookup(call, keys))


def _keys(row_ids: Key) -> tuple[Expression, tuple[str, ...] | None]:
    """The keys, and the names of the columns that they are."""
    if isinstance(row_ids, Expression):
        name = row_ids.column_name() if row_ids.is_column() else None
        return row_ids, None if name is None else (name,)
    if isinstance(row_ids, str):
        return daft.col(row_ids), (row_ids,)
    names = tuple(row_ids)
    return daft.functions.to_struct(*(daft.col(name) for name in names)), names


def _dtype(call: Call, field: str | None) -> DataType:
    """The type of the answers, which Daft wants to know before it knows that of the keys."""
    lists = call.function == "kv_batch_get"
    answers = call.type_for(pa.list_(pa.null()) if lists else pa.null())
    rows = answers.value_type if lists else answers
    for column in rows if pa.types.is_struct(rows) else ():
        if "Python" in str(DataType.from_arrow_type(column.type)):
            raise InvalidError(
                f"column '{column.name}' of KV store '{_store_name(call)}' is of type {column.type}, which "
                "Daft does not have; columns= says which columns are wanted"
            )
    return DataType.from_arrow_type(answers if field is None else answers.field(0).type)


def _store_name(call: Call) -> str:
    return call.store.name if isinstance(call.store, KVStore) else ""


@dataclass(frozen=True)
class _Lookup:
    """What a lookup is made of."""

    call: Call
    keys: Expression
    name: str | None = None
    field: str | None = None

    def expression(self) -> Expression:
        """The call of a batch function, and nothing around it."""
        function, dtype = self.call.function, _dtype(self.call, self.field)

        def ask(keys: daft.Series, call: Call, field: str | None) -> pa.Array:
            return _answers(keys, call, field)

        # What Daft's plans call it.
        ask.__name__ = ask.__qualname__ = function
        # Daft would choose by itself to run it in processes of its own: the store opens once in this one.
        udf = daft.func.batch(return_dtype=dtype, use_process=False)(ask)
        # The column of a function is called like its first argument.
        name = self.field if self.name is None else self.name
        keys = self.keys if name is None else self.keys.alias(name)
        answers: Expression = udf(keys, self.call, self.field)
        return answers


def _answers(keys: daft.Series, call: Call, field: str | None) -> pa.Array:
    asked = keys.to_arrow()
    if call.function == "kv_batch_get" and not _is_list(asked.type):
        if not pa.types.is_null(asked.type):
            raise InvalidError(
                f"kv_batch_get takes lists of keys in Daft, not {asked.type}; kv_get takes single keys"
            )
        asked = asked.cast(pa.list_(pa.null()))
    answers = call.answers(asked)
    return answers if field is None else answers.flatten()[0]


def _is_list(data_type: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_list(data_type)
        or types.is_large_list(data_type)
        or types.is_fixed_size_list(data_type)
    )


class _Guarded(Expression):
    """An expression with lookups in it.

    Daft 0.7.26 takes two calls of Python functions in one expression for the same, and answers wrongly,
    unless both are arguments of one operator: its rule SplitUDFs numbers the calls under each operator
    anew. What would come to that is refused, where it is made by a method or an operator of this class.
    """


def _guard(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(self: Expression, *args: Any, **options: Any) -> Any:
        answer = method(self, *args, **options)
        if not isinstance(answer, Expression):
            return answer
        parts = [part for part in (self, *args, *options.values()) if _holds_lookup(part)]
        if len(parts) > 1 and not all(isinstance(part, KVExpression) for part in parts):
            raise InvalidError(
                "Daft would take the lookups in this expression for one; put them into columns of "
                "their own first, as in df.with_column('x', kv_get(…)), and use the columns"
            )
        return _as(_Guarded, answer)

    return guarded


def _holds_lookup(part: Any) -> bool:
    return isinstance(part, Expression) and f"{__name__}.kv_" in repr(part)


def _as(kind: Any, expression: Expression) -> Any:
    new = kind.__new__(kind)
    new._expr = expression._expr
    return new


for _attribute, _method in vars(Expression).items():
    _is_private = _attribute.startswith("_") and not _attribute.startswith("__")
    if inspect.isfunction(_method) and not _is_private and _attribute != "__init__":
        setattr(_Guarded, _attribute, _guard(_method))


class KVExpression(_Guarded):
    """A Daft expression that is a lookup, or a field of one.

    A field of it (``kv_get(…)["name"]``) is all that is fetched. In :func:`when`, it is asked for the rows
    alone that take its branch.
    """

    _lookup: _Lookup

    @classmethod
    def _of(cls, lookup: _Lookup) -> KVExpression:
        new: KVExpression = _as(cls, lookup.expression())
        new._lookup = lookup
        return new

    def alias(self, name: str) -> KVExpression:
        """The same under another name."""
        return KVExpression._of(replace(self._lookup, name=name))

    def __getitem__(self, key: Any) -> Expression:
        """A field by its name, which alone is fetched then; an element of lists by its place."""
        lookup = self._lookup
        if lookup.call.function == "kv_get" and lookup.field is None and isinstance(key, str):
            call = replace(lookup.call, columns=(key,))
            if lookup.call.columns is None or key in lookup.call.columns:
                return KVExpression._of(_Lookup(call, lookup.keys, field=key))
        return super().__getitem__(key)

    def _only(self, rows: Expression) -> Expression:
        """The lookup for these rows alone: the others have null keys, and null answers."""
        keys = daft.functions.when(rows, self._lookup.keys).otherwise(None)
        return replace(self._lookup, keys=keys).expression()


Branches = tuple[tuple[Expression, Any], ...]
"""Conditions and values."""


class WhenExpression(_Guarded):
    """The value of the first branch whose condition is met; null where none is."""

    _branches: Branches

    @classmethod
    def _of(cls, branches: Branches) -> WhenExpression:
        new: WhenExpression = _as(cls, _case(branches, None))
        new._branches = branches
        return new

    def when(self, condition: Any, then: Any = ...) -> Any:
        """Another branch, for rows that meet no condition before."""
        return _when(self._branches, condition, then)

    def otherwise(self, value: Any) -> Expression:
        """The same, with a value for rows that meet no condition."""
        case: Expression = _as(_Guarded, _case(self._branches, value))
        return case


@dataclass(frozen=True)
class _Waiting:
    """A condition that waits for its value."""

    branches: Branches
    condition: Expression

    def then(self, value: Any) -> WhenExpression:
        """The value of rows that meet the condition."""
        return WhenExpression._of((*self.branches, (self.condition, value)))


def when(condition: Any, then: Any = ...) -> Any:
    """A value that depends on conditions; a lookup is asked for the rows alone that take its branch.

    Daft itself computes all branches for all rows. Here a branch that is a lookup, or a field of one, gets
    null keys for the other rows: a key that only another branch's store has is no error.

    Args:
        condition: A Daft expression of booleans, where null counts as false.
        then: The value where it is met; ``when(condition).then(value)`` is the same.

    Returns:
        A Daft expression with the methods ``when`` and ``otherwise``; without ``then``, what waits for
        ``.then(value)``.

    Raises:
        InvalidError: A condition holds a lookup, or a value does that is more than a lookup or its field.

    Example:
        >>> import daft
        >>> import keyloom.daft as kv
        >>> _ = kv.attach(kv.load_kv("memory", name="users", initial_data={1: "ann"}))
        >>> df = daft.from_pydict({"id": [1, 2], "kind": ["user", "item"]})
        >>> name = kv.kv_get("id", source="users")["value"]
        >>> df.select(kv.when(df["kind"] == "user").then(name).otherwise("?").alias("name")).to_pydict()
        {'name': ['ann', '?']}
        >>> kv.detach_kv("users")
    """
    return _when((), condition, then)


def _when(branches: Branches, condition: Any, then: Any) -> Any:
    condition = condition if isinstance(condition, Expression) else daft.lit(condition)
    if _holds_lookup(condition):
        raise InvalidError(
            "a condition holds a lookup; put it into a column first, as in "
            "df.with_column('known', kv_exists(…)), and use the column"
        )
    waiting = _Waiting(branches, condition)
    return waiting if then is ... else waiting.then(then)


def _case(branches: Branches, otherwise: Any) -> Expression:
    """Values of which a row has one at most, the others null, as arguments of one function.

    Daft's own words for it would make the values arguments of one function each: see `_Guarded`.
    """
    values = []
    left = daft.lit(True)
    for condition, value in branches:
        met = condition.fill_null(False)
        values.append(_only(value, left & met))
        left = left & ~met
    if otherwise is not None:
        values.append(_only(otherwise, left))
    case: Expression = values[0] if len(values) == 1 else daft.functions.coalesce(*values)
    first = branches[0][1]
    return case.alias(first.name()) if isinstance(first, KVExpression) else case


def _only(value: Any, rows: Expression) -> Expression:
    if isinstance(value, KVExpression):
        return value._only(rows)
    if _holds_lookup(value):
        raise InvalidError(
            "a value in when() is a lookup or its field, or has none in it; put what is made of a lookup "
            "into a column first, as in df.with_column('x', kv_get(…)), and use the column"
        )
    alone: Expression = daft.functions.when(rows, value).otherwise(None)
    return alone


def install() -> None:
    """Adds what Daft lacks to the module ``daft``, for this process: code that says ``daft.set_kv`` runs.

    These are ``attach_kv``, ``current_kv``, ``detach_kv``, ``get_kv``, ``has_kv``, ``list_kv``, ``set_kv``
    and ``when``, where Daft has no such names; ``Expression.is_not_null``, another name for ``not_null``; and
    ``daft.attach``, which attaches a store to Keyloom's session and leaves everything else to Daft.
    Importing this module changes nothing of Daft, and a second call does nothing.

    Example:
        >>> import daft, keyloom.daft
        >>> keyloom.daft.install()
        >>> _ = daft.attach(keyloom.load_kv("memory", name="ages", initial_data={"ann": 30}))
        >>> daft.has_kv("ages")
        True
        >>> daft.detach_kv("ages")
    """
    added = (current_kv, detach_kv, get_kv, has_kv, list_kv, set_kv, when)
    # `attach_kv` is the function `attach` under another name.
    for name, function in [("attach_kv", attach_kv), *((each.__name__, each) for each in added)]:
        if not hasattr(daft, name):
            setattr(daft, name, function)
    if not hasattr(Expression, "is_not_null"):
        Expression.is_not_null = Expression.not_null
    if not hasattr(daft.attach, "_keyloom"):
        daft.attach = _attach_either(daft.attach)


def _attach_either(of_daft: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(of_daft)
    def attach_either(object: Any, alias: str | None = None, **options: Any) -> Any:
        wanted = attach if isinstance(object, KVStore) else of_daft
        return wanted(object, alias, **options)

    attach_either.__dict__["_keyloom"] = True
    return attach_either
