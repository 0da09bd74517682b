"""Expressions: what a column of a frame is computed from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, overload

import pyarrow as pa

from keyloom import _convert, _keyloom
from keyloom.datatype import arrow_type
from keyloom.exceptions import InvalidError

__all__ = [
    "CaseExpression",
    "Expression",
    "When",
    "coalesce",
    "col",
    "get",
    "lit",
    "struct",
    "when",
]

_LATER: Any = object()
"""A value that is still to be said: None is one."""


class Expression:
    """What a column is computed from. It is computed when a frame that uses it is collected.

    Its column is called like the first column that it is made of, unless ``alias`` says otherwise;
    ``select`` calls a lookup like its store, unless another column is called so. Python's operators
    make new expressions; ``&``, ``|`` and ``~`` stand for "and", "or" and "not".
    """

    __slots__ = ("_expr", "_name", "_exploded", "_store")

    def __init__(
        self,
        expr: _keyloom.Expr,
        name: str,
        *,
        exploded: bool = False,
        store: str | None = None,
    ) -> None:
        self._expr = expr
        self._name = name
        self._exploded = exploded
        # The store of a lookup that nobody gave a name.
        self._store = store

    def name(self) -> str:
        """What its column is called.

        Example:
            >>> import keyloom
            >>> (keyloom.col("x") + keyloom.col("y")).name()
            'x'
        """
        return self._name

    def alias(self, name: str) -> Expression:
        """The same under another name.

        Example:
            >>> import keyloom
            >>> keyloom.col("x").alias("y")
            x as y
        """
        return Expression(self._expr, name, exploded=self._exploded)

    def __repr__(self) -> str:
        text = self._expr.text()
        return text if text == self._name else f"{text} as {self._name}"

    def __bool__(self) -> NoReturn:
        raise ValueError(
            "an expression has no truth of its own; use & for 'and', | for 'or' and ~ for 'not', "
            "with parentheses around comparisons"
        )

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an expression belongs to a session and cannot be pickled")

    def __copy__(self) -> Expression:
        return self

    def __deepcopy__(self, _: Any) -> Expression:
        return self

    def __iter__(self) -> NoReturn:
        raise TypeError("an expression has no elements before its frame is collected")

    # Operators.

    def _binary(self, sign: str, other: Any, *, turned: bool = False) -> Expression:
        right = to_expression(other)
        left, right = (right, self) if turned else (self, right)
        return Expression(left._expr.binary(sign, right._expr), self._name)

    def __eq__(self, other: object) -> Expression:  # type: ignore[override]
        return self._binary("==", other)

    def __ne__(self, other: object) -> Expression:  # type: ignore[override]
        return self._binary("!=", other)

    def __lt__(self, other: Any) -> Expression:
        return self._binary("<", other)

    def __le__(self, other: Any) -> Expression:
        return self._binary("<=", other)

    def __gt__(self, other: Any) -> Expression:
        return self._binary(">", other)

    def __ge__(self, other: Any) -> Expression:
        return self._binary(">=", other)

    def __add__(self, other: Any) -> Expression:
        return self._binary("+", other)

    def __radd__(self, other: Any) -> Expression:
        return self._binary("+", other, turned=True)

    def __sub__(self, other: Any) -> Expression:
        return self._binary("-", other)

    def __rsub__(self, other: Any) -> Expression:
        return self._binary("-", other, turned=True)

    def __mul__(self, other: Any) -> Expression:
        return self._binary("*", other)

    def __rmul__(self, other: Any) -> Expression:
        return self._binary("*", other, turned=True)

    def __truediv__(self, other: Any) -> Expression:
        return self._binary("/", other)

    def __rtruediv__(self, other: Any) -> Expression:
        return self._binary("/", other, turned=True)

    def __floordiv__(self, other: Any) -> Expression:
        return self._binary("//", other)

    def __rfloordiv__(self, other: Any) -> Expression:
        return self._binary("//", other, turned=True)

    def __mod__(self, other: Any) -> Expression:
        return self._binary("%", other)

    def __rmod__(self, other: Any) -> Expression:
        return self._binary("%", other, turned=True)

    def __and__(self, other: Any) -> Expression:
        return self._binary("&", other)

    def __rand__(self, other: Any) -> Expression:
        return self._binary("&", other, turned=True)

    def __or__(self, other: Any) -> Expression:
        return self._binary("|", other)

    def __ror__(self, other: Any) -> Expression:
        return self._binary("|", other, turned=True)

    def __xor__(self, other: Any) -> Expression:
        another = to_expression(other)
        return (self & ~another) | (~self & another)

    def __rxor__(self, other: Any) -> Expression:
        return self.__xor__(other)

    def __pow__(self, other: Any) -> Expression:
        return self._call("power", other)

    def __rpow__(self, other: Any) -> Expression:
        return to_expression(other)._call("power", self)._named(self._name)

    def __abs__(self) -> Expression:
        return self.abs()

    def __pos__(self) -> Expression:
        return self

    def __invert__(self) -> Expression:
        return Expression(self._expr.invert(), self._name)

    def __neg__(self) -> Expression:
        return Expression(self._expr.negate(), self._name)

    # Parts.

    def __getitem__(self, part: str | int | slice) -> Expression:
        """A field of structs by its name; an element of lists by its place, from 0, or from the end if
        it is negative; or a slice of lists.

        A place that a list does not have is null. The field is called by its name.

        Raises:
            InvalidError: The slice has a step, or can hold nothing.
            TypeError: The part is none of these.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [[1, 2, 3]]})
            >>> df.select(keyloom.col("x")[-1].alias("last"), keyloom.col("x")[:2]).to_pydict()
            {'last': [3], 'x': [[1, 2]]}
        """
        if isinstance(part, str):
            return self._call("get_field", part)._named(part)
        if isinstance(part, bool) or not isinstance(part, (int, slice)):
            raise TypeError(f"a part is a name, a place or a slice, not {type(part).__name__}")
        if isinstance(part, int):
            return self._call("array_element", part + 1 if part >= 0 else part)
        if part.step is not None:
            raise InvalidError("a slice of lists has no step")
        start = 0 if part.start is None else part.start
        first = start + 1 if start >= 0 else start
        if part.stop is None:
            return self._call("array_slice", first, -1)
        if part.stop == 0 or (part.stop < 0 and part.stop == start):
            # From behind its end: nothing, and null of null.
            return self._call("array_slice", 2, 1)
        return self._call("array_slice", first, part.stop if part.stop > 0 else part.stop - 1)

    def get(self, part: str | int, default: Any = None) -> Expression:
        """As ``[]``, with something else where it is null.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [[1, 2], []]})
            >>> df.select(keyloom.col("x").get(0, 9)).to_pydict()
            {'x': [1, 9]}
        """
        found: Expression = self[part]
        return found if default is None else found.fill_null(default)._named(found._name)

    def _named(self, name: str) -> Expression:
        return Expression(self._expr, name)

    def _call(self, function: str, *arguments: Any) -> Expression:
        parts = [self, *(to_expression(argument) for argument in arguments)]
        return Expression(_keyloom.Expr.call(function, [part._expr for part in parts]), self._name)

    # Values.

    def cast(self, dtype: pa.DataType | type | str, *, safe: bool = True) -> Expression:
        """The values as another type: a :class:`~keyloom.datatype.DataType`, a pyarrow type, a Python
        type or a name such as ``"int64"``.

        A value that has no equal in that type fails the query, or becomes null if ``safe`` is false.

        Raises:
            InvalidError: ``dtype`` means no type.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["1", "one"]})
            >>> df.select(keyloom.col("x").cast("int64", safe=False)).to_pydict()
            {'x': [1, None]}
        """
        return Expression(self._expr.cast(arrow_type(dtype), not safe), self._name)

    def is_null(self) -> Expression:
        """Whether the value is null.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None]})
            >>> df.select(keyloom.col("x").is_null()).to_pydict()
            {'x': [False, True]}
        """
        return Expression(self._expr.is_null(), self._name)

    def not_null(self) -> Expression:
        """Whether the value is not null. A key that a store does not hold is a null struct.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None]})
            >>> df.select(keyloom.col("x").is_not_null()).to_pydict()
            {'x': [True, False]}
        """
        return Expression(self._expr.not_null(), self._name)

    is_not_null = not_null

    def fill_null(self, value: Any) -> Expression:
        """The value, or another where it is null.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None]})
            >>> df.select(keyloom.col("x").fill_null(0)).to_pydict()
            {'x': [1, 0]}
        """
        return self.coalesce(value)

    def coalesce(self, *others: Any) -> Expression:
        """The value, or the first of others that is not null. Lookups among the others are made for
        the rows that need them.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None], "y": [3, 4]})
            >>> df.select(keyloom.col("x").coalesce(keyloom.col("y"))).to_pydict()
            {'x': [1, 4]}
        """
        return self._call("coalesce", *others)

    def is_in(self, values: Iterable[Any]) -> Expression:
        """Whether the value is among others.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.select(keyloom.col("x").is_in([2, 3])).to_pydict()
            {'x': [False, True]}
        """
        # A text is no list of letters, and a frame would be computed for its rows.
        if isinstance(values, (str, bytes)) or hasattr(values, "_frame"):
            raise TypeError(f"the others are a list of values, not a {type(values).__name__}")
        parts = [to_expression(value)._expr for value in values]
        return Expression(self._expr.is_in(parts), self._name)

    def between(self, lower: Any, upper: Any) -> Expression:
        """Whether the value is at least ``lower`` and at most ``upper``.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, 3]})
            >>> df.select(keyloom.col("x").between(1, 2)).to_pydict()
            {'x': [True, True, False]}
        """
        both: Expression = (self >= lower) & (self <= upper)
        return both

    def eq_null_safe(self, other: Any) -> Expression:
        """As ``==``, but two nulls are equal, and null is not equal to anything else.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None]})
            >>> df.select(keyloom.col("x").eq_null_safe(None)).to_pydict()
            {'x': [False, True]}
        """
        return self._binary("is not distinct from", other)

    def explode(self) -> Expression:
        """A row for each element of lists. It stands alone in ``select`` or ``with_column``.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [[1, 2], [3]]})
            >>> df.select(keyloom.col("x").explode()).to_pydict()
            {'x': [1, 2, 3]}
        """
        return Expression(self._expr, self._name, exploded=True)

    def hash(self) -> Expression:
        """The values' MD5 hash, in hexadecimal digits.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["a"]})
            >>> df.select(keyloom.col("x").hash()).to_pydict()
            {'x': ['0cc175b9c0f1b6a831c399e269772661']}
        """
        return self.cast("string")._call("md5")

    def abs(self) -> Expression:
        """The value without its sign.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [-1, 2]})
            >>> df.select(keyloom.col("x").abs()).to_pydict()
            {'x': [1, 2]}
        """
        return self._call("abs")

    def round(self, decimals: int = 0) -> Expression:
        """The value rounded to some decimals.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1.26]})
            >>> df.select(keyloom.col("x").round(1)).to_pydict()
            {'x': [1.3]}
        """
        return self._call("round", decimals)

    # Strings.

    def contains(self, part: Any) -> Expression:
        """Whether the string contains another.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["key", "loom"]})
            >>> df.select(keyloom.col("x").contains("oo")).to_pydict()
            {'x': [False, True]}
        """
        return self._call("contains", part)

    def startswith(self, part: Any) -> Expression:
        """Whether the string starts with another.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["key", "loom"]})
            >>> df.select(keyloom.col("x").startswith("k")).to_pydict()
            {'x': [True, False]}
        """
        return self._call("starts_with", part)

    def endswith(self, part: Any) -> Expression:
        """Whether the string ends with another.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["key", "loom"]})
            >>> df.select(keyloom.col("x").endswith("m")).to_pydict()
            {'x': [False, True]}
        """
        return self._call("ends_with", part)

    def lower(self) -> Expression:
        """The string in lower case.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["Key"]})
            >>> df.select(keyloom.col("x").lower()).to_pydict()
            {'x': ['key']}
        """
        return self._call("lower")

    def upper(self) -> Expression:
        """The string in upper case.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["Key"]})
            >>> df.select(keyloom.col("x").upper()).to_pydict()
            {'x': ['KEY']}
        """
        return self._call("upper")

    def length(self) -> Expression:
        """The number of characters of the string.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": ["key", "ключ"]})
            >>> df.select(keyloom.col("x").length()).to_pydict()
            {'x': [3, 4]}
        """
        return self._call("character_length")

    # Aggregates.

    def _aggregate(self, function: str, **how: bool) -> Expression:
        return Expression(_keyloom.Expr.aggregate(function, self._expr, **how), self._name)

    def sum(self) -> Expression:
        """The sum of a group's values.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, None]})
            >>> df.select(keyloom.col("x").sum()).to_pydict()
            {'x': [3]}
        """
        return self._aggregate("sum")

    def mean(self) -> Expression:
        """The mean of a group's values.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, None]})
            >>> df.select(keyloom.col("x").mean()).to_pydict()
            {'x': [1.5]}
        """
        return self._aggregate("avg")

    avg = mean

    def min(self) -> Expression:
        """The least of a group's values.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [2, 1, None]})
            >>> df.select(keyloom.col("x").min()).to_pydict()
            {'x': [1]}
        """
        return self._aggregate("min")

    def max(self) -> Expression:
        """The greatest of a group's values.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, None]})
            >>> df.select(keyloom.col("x").max()).to_pydict()
            {'x': [2]}
        """
        return self._aggregate("max")

    def count(self) -> Expression:
        """How many of a group's values are not null.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, None]})
            >>> df.select(keyloom.col("x").count()).to_pydict()
            {'x': [2]}
        """
        return self._aggregate("count")

    def count_distinct(self) -> Expression:
        """How many different values, other than null, a group has.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 1, None]})
            >>> df.select(keyloom.col("x").count_distinct()).to_pydict()
            {'x': [1]}
        """
        return self._aggregate("count", distinct=True)

    def any_value(self) -> Expression:
        """One of a group's values that are not null.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [None, 1]})
            >>> df.select(keyloom.col("x").any_value()).to_pydict()
            {'x': [1]}
        """
        return self._aggregate("first_value", skip_nulls=True)

    def list_agg(self) -> Expression:
        """A group's values as a list.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.select(keyloom.col("x").list_agg()).to_pydict()
            {'x': [[1, 2]]}
        """
        return self._aggregate("array_agg")

    agg_list = list_agg


class CaseExpression(Expression):
    """``when(…).then(…)``, which is null where no condition is true, until ``otherwise`` says else."""

    __slots__ = ("_branches",)

    def __init__(self, branches: list[tuple[Expression, Expression]]) -> None:
        super().__init__(_case(branches, None), branches[0][1]._name)
        self._branches = branches

    @overload
    def when(self, condition: Any) -> When: ...

    @overload
    def when(self, condition: Any, then: Any) -> CaseExpression: ...

    def when(self, condition: Any, then: Any = _LATER) -> When | CaseExpression:
        """Another condition, which is looked at where those before are not true.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 5]})
            >>> x = keyloom.col("x")
            >>> size = keyloom.when(x < 3, "small").when(x < 9, "middle").otherwise("big")
            >>> df.select(size.alias("size")).to_pydict()
            {'size': ['small', 'middle']}
        """
        return _when(self._branches, condition, then)

    def otherwise(self, value: Any) -> Expression:
        """The value where no condition is true.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 5]})
            >>> df.select(keyloom.when(keyloom.col("x") < 3, 0).otherwise(1).alias("y")).to_pydict()
            {'y': [0, 1]}
        """
        return Expression(_case(self._branches, to_expression(value)), self._name)


class When:
    """A condition that waits for its value."""

    __slots__ = ("_branches", "_condition")

    def __init__(
        self, branches: list[tuple[Expression, Expression]], condition: Expression
    ) -> None:
        self._branches = branches
        self._condition = condition

    def then(self, value: Any) -> CaseExpression:
        """The value where the condition is true.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 5]})
            >>> df.select(keyloom.when(keyloom.col("x") < 3).then(0).alias("y")).to_pydict()
            {'y': [0, None]}
        """
        return CaseExpression([*self._branches, (self._condition, to_expression(value))])


def _case(
    branches: list[tuple[Expression, Expression]], otherwise: Expression | None
) -> _keyloom.Expr:
    pairs = [(condition._expr, value._expr) for condition, value in branches]
    return _keyloom.Expr.case(pairs, None if otherwise is None else otherwise._expr)


def _when(
    branches: list[tuple[Expression, Expression]], condition: Any, then: Any
) -> When | CaseExpression:
    waiting = When(branches, to_expression(condition))
    return waiting if then is _LATER else waiting.then(then)


@overload
def when(condition: Any) -> When: ...


@overload
def when(condition: Any, then: Any) -> CaseExpression: ...


def when(condition: Any, then: Any = _LATER) -> When | CaseExpression:
    """Values that depend on conditions. Lookups in a branch are made for the rows that take it.

    Args:
        condition: A boolean expression. A row for which it is null does not take the branch.
        then: The value where it is true; if it is not given, ``.then(…)`` gives it.

    Returns:
        What more of ``.when(…)``, and ``.otherwise(…)`` in the end, go on from. Without ``otherwise``,
        rows that take no branch are null.

    Example:
        >>> import keyloom
        >>> df = keyloom.from_pydict({"x": [1, 5]})
        >>> big = keyloom.when(df["x"] > 3).then("big").otherwise("small")
        >>> df.with_column("size", big).to_pydict()
        {'x': [1, 5], 'size': ['small', 'big']}
    """
    return _when([], condition, then)


def col(name: str) -> Expression:
    """A column by its name, as it is written: dots and capitals are part of it.

    Example:
        >>> import keyloom
        >>> keyloom.from_pydict({"x": [1, 2]}).select(keyloom.col("x") + 1).to_pydict()
        {'x': [2, 3]}
    """
    if not isinstance(name, str):
        raise TypeError(f"a column has a name, not a {type(name).__name__}")
    return Expression(_keyloom.Expr.column(name), name)


def lit(value: Any) -> Expression:
    """A value as an expression: anything that pyarrow has a type for.

    Example:
        >>> import keyloom
        >>> keyloom.from_pydict({"x": [1]}).with_column("y", keyloom.lit("a")).to_pydict()
        {'x': [1], 'y': ['a']}
    """
    if isinstance(value, Expression):
        return value
    if isinstance(value, pa.Scalar):
        array = pa.array([value.as_py()], value.type)
    else:
        try:
            array = _convert.column([value])
        except InvalidError as error:
            raise InvalidError(f"{value!r} is no value of a column: {error}") from error
    return Expression(_keyloom.Expr.literal(array), "literal")


def to_expression(value: Any) -> Expression:
    """An expression as it is, and anything else as a value."""
    return value if isinstance(value, Expression) else lit(value)


def column_or_expression(value: Any) -> Expression:
    """An expression as it is, and a string as a column's name."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, str):
        return col(value)
    raise TypeError(f"a column's name or an expression is wanted, not {type(value).__name__}")


def coalesce(*values: Any) -> Expression:
    """The first of the values that is not null.

    Lookups among them are made for the rows that need them: a second store is asked for the keys alone
    that the first does not hold.

    Raises:
        InvalidError: There is no value.

    Example:
        >>> import keyloom
        >>> df = keyloom.from_pydict({"x": [1, None]})
        >>> df.select(keyloom.coalesce(df["x"], 0)).to_pydict()
        {'x': [1, 0]}
    """
    if not values:
        raise InvalidError("coalesce needs a value")
    first, *others = (to_expression(value) for value in values)
    return first.coalesce(*others)


def get(expr: Expression | str, part: str | int, default: Any = None) -> Expression:
    """A field of structs, or an element of lists: :meth:`Expression.get`."""
    return column_or_expression(expr).get(part, default)


def struct(*fields: Expression | str) -> Expression:
    """A struct of columns under their names: a key of several columns, for example.

    Example:
        >>> import keyloom
        >>> df = keyloom.from_pydict({"x": [1], "y": ["a"]})
        >>> df.select(keyloom.struct("x", "y").alias("key")).to_pydict()
        {'key': [{'x': 1, 'y': 'a'}]}
    """
    parts = [column_or_expression(field) for field in fields]
    arguments = [part for field in parts for part in (lit(field.name())._expr, field._expr)]
    return Expression(_keyloom.Expr.call("named_struct", arguments), "struct")
