"""Frames: tables that are computed when they are asked for."""

from __future__ import annotations

import json
import operator
import sys
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    NamedTuple,
    NoReturn,
    ParamSpec,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

import pyarrow as pa

from keyloom import _display, _keyloom, _outputs
from keyloom._outputs import IfExists, LanceIfExists, Output
from keyloom._progress import progress
from keyloom._security import StrPath
from keyloom.datatype import common_type
from keyloom.exceptions import InvalidError
from keyloom.expressions import Expression, col, column_or_expression, lit
from keyloom.grouped import GroupedDataFrame, flat
from keyloom.jobs import JobHandle, Written
from keyloom.schema import Schema
from keyloom.session import Session

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = ["DataFrame", "Missed"]

P = ParamSpec("P")
T = TypeVar("T")

Column: TypeAlias = Expression | str
"""A column: an expression, or its name."""

JoinHow: TypeAlias = Literal["inner", "left", "right", "outer", "semi", "anti", "cross"]
"""The ways to join."""


class DataFrame:
    """A table that is computed when it is asked for: by ``collect``, ``show``, ``to_arrow`` and the
    other ``to_…``, ``write_…``, ``count_rows``, or by iterating over it. Printing it computes nothing.

    Rows keep their order, unless a method says otherwise. Each method answers a new frame.
    """

    def __init__(
        self, frame: _keyloom.Frame, session: Session, engine: _keyloom.Session | None = None
    ) -> None:
        self._frame = frame
        # The frame works on when its session is closed.
        self._session = session
        self._engine = session._rust if engine is None else engine
        self._rows: _keyloom.Batches | None = None
        # The rows that missed their keys, and how many are left out.
        self._missed: tuple[_keyloom.Batches, int] | None = None
        self._preview = 8

    # Columns.

    def schema(self) -> Schema:
        """The columns and their types."""
        return Schema(self._frame.schema())

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self._frame.schema().names)

    @property
    def columns(self) -> list[Expression]:
        """The columns as expressions."""
        return [col(name) for name in self.column_names]

    @overload
    def __getitem__(self, name: str | int) -> Expression: ...

    @overload
    def __getitem__(self, name: slice) -> list[Expression]: ...

    def __getitem__(self, name: str | int | slice) -> Expression | list[Expression]:
        """A column as an expression, by its name or its place; several by a slice.

        A name is not looked for before the expression is used: ``df["x"]`` may also name a column that
        a method just before adds.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1], "y": [2]})
            >>> df.select(df["x"] + df[-1]).to_pydict()
            {'x': [3]}
        """
        if isinstance(name, str):
            return col(name)
        if isinstance(name, (int, slice)):
            return self.columns[name]
        raise TypeError(f"a column has a name or a place, not a {type(name).__name__}")

    def __contains__(self, name: str) -> bool:
        return name in self.column_names

    def _answer(self, frame: _keyloom.Frame) -> DataFrame:
        return DataFrame(frame, self._session, self._engine)

    def _of(self, rows: pa.Table) -> DataFrame:
        return self._answer(self._engine.frame_of(_keyloom.Batches(rows)))

    def _pairs(self, exprs: Iterable[Any]) -> list[tuple[str, _keyloom.Expr]]:
        parts = [column_or_expression(expr) for expr in exprs]
        return [(part.name(), part._expr) for part in parts]

    # Rows and columns from rows and columns.

    def select(self, *columns: Column | Sequence[Column], **projections: Any) -> DataFrame:
        """These columns alone, by name or as expressions; with a name before ``=``, under that name.

        A lookup without a name is called like its store, unless another column is called so. Aggregates
        make one row of all.

        Raises:
            InvalidError: A column is not there, or two would have one name.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2], "y": [3, 4]})
            >>> df.select("x", total=df["x"] + df["y"]).to_pydict()
            {'x': [1, 2], 'total': [4, 6]}
        """
        named = [_value(value).alias(name) for name, value in projections.items()]
        parts = [column_or_expression(column) for column in flat(columns)] + named
        exprs = [part._expr for part in parts]
        selected = self._answer(self._frame.select(list(zip(_names(parts), exprs, strict=True))))
        return _exploded(selected, parts)

    def with_column(self, column_name: str, expr: Expression) -> DataFrame:
        """Adds a column at the end, or puts it in the place of the one of that name.

        Raises:
            InvalidError: The expression names a column that is not there, or its types do not fit.
            TypeError: It is no expression: a value is ``lit(…)``.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.with_column("y", df["x"] * 2).to_pydict()
            {'x': [1, 2], 'y': [2, 4]}
        """
        return self.with_columns({column_name: expr})

    def with_columns(self, columns: Mapping[str, Expression]) -> DataFrame:
        """Adds several columns, none of which sees the others.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1]})
            >>> df.with_columns({"y": df["x"] + 1, "z": df["x"] + 2}).to_pydict()
            {'x': [1], 'y': [2], 'z': [3]}
        """
        parts = []
        if not isinstance(columns, Mapping):
            raise TypeError(f"columns is a dict of expressions, not a {type(columns).__name__}")
        for name, expr in columns.items():
            if not isinstance(expr, Expression):
                hint = "col(…) is a column, lit(…) a value"
                raise TypeError(
                    f"column '{name}' is an expression, not {type(expr).__name__}; {hint}"
                )
            parts.append(expr.alias(name))
        frame = self._frame.with_columns([(part.name(), part._expr) for part in parts])
        return _exploded(self._answer(frame), parts)

    def with_column_renamed(self, existing: str, new: str) -> DataFrame:
        """Gives a column another name.

        Raises:
            InvalidError: There is no such column, or the other name is taken.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1]})
            >>> df.with_column_renamed("x", "y").to_pydict()
            {'y': [1]}
        """
        return self.with_columns_renamed({existing: new})

    def with_columns_renamed(self, names: Mapping[str, str]) -> DataFrame:
        """Gives columns other names.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1], "y": [2]})
            >>> df.with_columns_renamed({"x": "y", "y": "x"}).to_pydict()
            {'y': [1], 'x': [2]}
        """
        self._check(names)
        pairs = [(names.get(name, name), col(name)._expr) for name in self.column_names]
        return self._answer(self._frame.select(pairs))

    def exclude(self, *names: str) -> DataFrame:
        """All columns but these.

        Raises:
            InvalidError: One of them is not there.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1], "y": [2]})
            >>> df.exclude("x").to_pydict()
            {'y': [2]}
        """
        names = tuple(column_or_expression(name).name() for name in flat(names))
        self._check(names)
        kept = [name for name in self.column_names if name not in names]
        return self.select(*kept)

    def _check(self, names: Iterable[str]) -> None:
        there = self.column_names
        for name in names:
            if name not in there:
                raise InvalidError(f"column '{name}' not found; there are: {', '.join(there)}")

    def where(self, predicate: Expression | str) -> DataFrame:
        """The rows for which a predicate is true: an expression, or what stands behind WHERE in SQL.

        Rows for which it is null go, too.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, None]})
            >>> df.where(df["x"] > 1).to_pydict()
            {'x': [2]}
            >>> df.where("x IS NULL").to_pydict()
            {'x': [None]}
        """
        if isinstance(predicate, str):
            # On a line of its own, as it may end in a comment.
            query = f"SELECT * FROM this WHERE ({predicate}\n)"
            return self._answer(self._engine.sql(query, [("this", self._frame)]))
        if not isinstance(predicate, Expression):
            raise TypeError(f"a predicate is an expression or SQL, not {type(predicate).__name__}")
        return self._answer(self._frame.filter(predicate._expr))

    filter = where

    def limit(self, num: int) -> DataFrame:
        """The first rows.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, 3]})
            >>> df.limit(2).to_pydict()
            {'x': [1, 2]}
        """
        return self._answer(self._frame.limit(0, _count(num)))

    head = limit

    def offset(self, num: int) -> DataFrame:
        """The rows after the first ones.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2, 3]})
            >>> df.offset(2).to_pydict()
            {'x': [3]}
        """
        return self._answer(self._frame.limit(_count(num), None))

    def sort(
        self,
        by: Column | list[Column] | list[str] | list[Expression],
        desc: bool | list[bool] = False,
        nulls_first: bool | list[bool] | None = None,
    ) -> DataFrame:
        """Sorts by columns or expressions.

        Args:
            by: What to sort by; rows that are equal in the first are sorted by the next.
            desc: Whether from the greatest to the least, for all or for each.
            nulls_first: Whether nulls come first; without a word, they are the greatest.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [2, None, 3]})
            >>> df.sort("x", desc=True, nulls_first=False).to_pydict()
            {'x': [3, 2, None]}
        """
        keys = list(by) if isinstance(by, (list, tuple)) else [by]
        if not all(isinstance(each, (bool, list)) for each in (desc, nulls_first or False)):
            raise TypeError(
                "desc and nulls_first are bools; several keys to sort by go into a list"
            )
        down = desc if isinstance(desc, list) else [desc] * len(keys)
        first = nulls_first if isinstance(nulls_first, list) else [nulls_first] * len(keys)
        if not keys:
            raise InvalidError("sort needs something to sort by")
        if not len(keys) == len(down) == len(first):
            raise InvalidError(
                f"{len(keys)} keys to sort by, but {len(down)} desc and {len(first)} nulls_first"
            )
        order = [
            (column_or_expression(key)._expr, descends, descends if nulls is None else nulls)
            for key, descends, nulls in zip(keys, down, first)
        ]
        return self._answer(self._frame.sort(order))

    def distinct(self, *on: Expression | str) -> DataFrame:
        """One row of each that are equal, or equal in some columns. The order is not kept.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 1, 2]})
            >>> df.distinct().sort("x").to_pydict()
            {'x': [1, 2]}
        """
        return self._answer(
            self._frame.distinct([key._expr for key in map(column_or_expression, flat(on))])
        )

    unique = drop_duplicates = distinct

    def concat(self, other: DataFrame) -> DataFrame:
        """The rows of another frame with the same columns after this one's.

        Raises:
            InvalidError: The columns differ in their names, or in types that have none in common. Strings
                of all kinds have, and bytes, and numbers: no digit of an integer is lost unless it meets
                a fraction.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1]})
            >>> df.concat(keyloom.from_pydict({"x": [2]})).to_pydict()
            {'x': [1, 2]}
        """
        if not isinstance(other, DataFrame):
            raise TypeError(f"a frame is put before a frame, not a {type(other).__name__}")
        ours, theirs = self._frame.schema(), other._frame.schema()
        if ours.names != theirs.names:
            raise InvalidError(
                f"the columns differ: {', '.join(ours.names)} and {', '.join(theirs.names)}"
            )
        fields = []
        for one, two in zip(ours, theirs):
            both = common_type(one.type, two.type)
            if both is None:
                raise InvalidError(
                    f"column '{one.name}' is {one.type} and {two.type}; cast one of them"
                )
            fields.append(pa.field(one.name, both))
        return self._answer(self._as(fields)._frame.concat(other._as(fields)._frame))

    def _as(self, fields: list[pa.Field]) -> DataFrame:
        """The same columns as other types."""
        now = self._frame.schema()
        casts = [
            (
                field.name,
                (
                    col(field.name) if field.type == old.type else col(field.name).cast(field.type)
                )._expr,
            )
            for field, old in zip(fields, now)
        ]
        return (
            self
            if all(f.type == o.type for f, o in zip(fields, now))
            else self._answer(self._frame.select(casts))
        )

    union_all = concat

    def explode(
        self,
        *columns: Expression | str,
        index_column: str | None = None,
        ignore_empty_and_null: bool = False,
    ) -> DataFrame:
        """A row for each element of columns of lists; null for a list that is null or empty.

        Args:
            *columns: The lists. Those of a row go side by side, the shorter ones filled with nulls.
            index_column: A column for the elements' places in the first list, from 0.
            ignore_empty_and_null: Whether a list that is null or empty gives no row.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "b"], "x": [[1, 2], []]})
            >>> df.explode("x").to_pydict()
            {'k': ['a', 'a', 'b'], 'x': [1, 2, None]}
        """
        names = [column_or_expression(column).name() for column in columns]
        if not names:
            raise InvalidError("explode needs the name of a column")
        self._check(names)
        frame = self._frame.explode(names, index_column, not ignore_empty_and_null)
        return self._answer(frame)

    def drop_null(self, *columns: Expression | str) -> DataFrame:
        """The rows that have no null in some columns, or in any.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None], "y": [None, 2]})
            >>> df.drop_null("x").to_pydict()
            {'x': [1], 'y': [None]}
        """
        parts = [column_or_expression(column) for column in flat(columns)] or self.columns
        frame = self
        for part in parts:
            frame = frame.where(part.not_null())
        return frame

    def pipe(
        self, function: Callable[Concatenate[DataFrame, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a function makes of the frame.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.pipe(lambda frame, n: frame.limit(n).count_rows(), 1)
            1
        """
        return function(self, *args, **kwargs)

    def transform(
        self,
        function: Callable[Concatenate[DataFrame, P], DataFrame],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> DataFrame:
        """As :meth:`pipe`, for functions that answer frames.

        Raises:
            TypeError: The function answers something else.
        """
        answer = function(self, *args, **kwargs)
        if not isinstance(answer, DataFrame):
            raise TypeError(f"the function answered {type(answer).__name__}, not a DataFrame")
        return answer

    # Groups.

    def groupby(self, *by: Column | Sequence[Column]) -> GroupedDataFrame:
        """Groups of rows that are equal in some columns. Their order is not kept.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "b", "a"], "x": [1, 2, 3]})
            >>> df.groupby("k").sum("x").sort("k").to_pydict()
            {'k': ['a', 'b'], 'x': [4, 2]}
        """
        return GroupedDataFrame(self, [column_or_expression(key) for key in flat(by)])

    group_by = groupby

    def agg(self, *aggregates: Column | Sequence[Column]) -> DataFrame:
        """Aggregates over all rows, as one row.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.agg(df["x"].sum(), df["x"].max().alias("most")).to_pydict()
            {'x': [3], 'most': [2]}
        """
        return self._answer(self._frame.aggregate([], self._pairs(flat(aggregates))))

    def sum(self, *columns: Expression | str) -> DataFrame:
        """The sums of columns, as one row.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.sum("x").to_pydict()
            {'x': [3]}
        """
        return self.agg([column_or_expression(column).sum() for column in columns])

    def mean(self, *columns: Expression | str) -> DataFrame:
        """The means of columns, as one row.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.mean("x").to_pydict()
            {'x': [1.5]}
        """
        return self.agg([column_or_expression(column).mean() for column in columns])

    def min(self, *columns: Expression | str) -> DataFrame:
        """The least values of columns, as one row.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.min("x").to_pydict()
            {'x': [1]}
        """
        return self.agg([column_or_expression(column).min() for column in columns])

    def max(self, *columns: Expression | str) -> DataFrame:
        """The greatest values of columns, as one row.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.max("x").to_pydict()
            {'x': [2]}
        """
        return self.agg([column_or_expression(column).max() for column in columns])

    def count(self, *columns: Expression | str) -> DataFrame:
        """How many values of columns are not null, as one row.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None]})
            >>> df.count("x").to_pydict()
            {'x': [1]}
        """
        return self.agg([column_or_expression(column).count() for column in columns])

    def count_rows(self) -> int:
        """How many rows there are. A frame that is not collected is computed for it.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, None]})
            >>> df.count_rows()
            2
        """
        if self._rows is not None:
            return self._rows.num_rows
        counted = self._answer(self._frame.aggregate([], [("rows", lit(1).count()._expr)]))
        return int(counted.to_arrow().column(0)[0].as_py())

    def __len__(self) -> int:
        if self._rows is None:
            raise NotCollectedError(
                "a frame has no length before it is collected; count_rows() counts its rows"
            )
        return self._rows.num_rows

    def join(
        self,
        other: DataFrame,
        on: Column | Sequence[Column] | None = None,
        left_on: Column | Sequence[Column] | None = None,
        right_on: Column | Sequence[Column] | None = None,
        how: JoinHow = "inner",
        *,
        prefix: str | None = None,
        suffix: str | None = None,
    ) -> DataFrame:
        """The rows of two frames whose keys are equal. Their order is not kept.

        Args:
            other: The frame on the right.
            on: The columns that are keys in both, or ``left_on`` and ``right_on`` for each.
            how: ``"inner"``, ``"left"``, ``"right"``, ``"outer"``, ``"semi"``, ``"anti"`` or ``"cross"``.
            prefix: What stands before names of the right that are taken; ``"right."`` if neither this
                nor ``suffix`` is given.
            suffix: What stands behind them.

        Raises:
            InvalidError: A key is not there or no column, or a name is taken in spite of all.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": [1, 2], "x": ["a", "b"]})
            >>> other = keyloom.from_pydict({"k": [2], "x": ["c"]})
            >>> df.join(other, on="k", how="left").sort("k").to_pydict()
            {'k': [1, 2], 'x': ['a', 'b'], 'right.x': [None, 'c']}
        """
        if not isinstance(other, DataFrame):
            raise TypeError(f"a frame is joined with a frame, not with {type(other).__name__}")
        if on is not None and (left_on is not None or right_on is not None):
            raise InvalidError("on names the keys of both frames; leave out left_on and right_on")
        left, right = (
            _keys(on if on is not None else left_on),
            _keys(on if on is not None else right_on),
        )
        if how == "cross" and (left or right):
            raise InvalidError("a cross join has no keys")
        if how != "cross" and (not left or len(left) != len(right)):
            raise InvalidError(
                f"a join needs as many keys of both frames, not {len(left)} and {len(right)}"
            )
        prefix = "right." if prefix is None and suffix is None else prefix or ""
        return self._answer(self._frame.join(other._frame, left, right, how, prefix, suffix or ""))

    # What computes it.

    def _run(self, start: Callable[[], _keyloom.Job]) -> tuple[_keyloom.Batches, _keyloom.Job]:
        telling = progress()
        try:
            job = start()
            return job.collect(telling), job
        finally:
            if telling is not None:
                telling.close()

    def _computed(self) -> _keyloom.Batches:
        return self._run(self._frame.submit)[0] if self._rows is None else self._rows

    def collect(self, num_preview_rows: int | None = 8, *, keep_missed: bool = False) -> DataFrame:
        """Computes the rows and keeps them: what is made of the frame afterwards starts from them. On a
        cluster, they travel to it, once.

        Args:
            num_preview_rows: How many rows are shown where the frame is printed.
            keep_missed: Whether the rows that miss their keys are kept, too, for :meth:`missed`.

        Raises:
            InvalidError: The frame is collected already, and those rows were not kept.
            KeyloomError: The query fails; ``kind`` says whose fault it is.
            KeyboardInterrupt: Ctrl-C, which stops the query on the cluster, too.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> len(df.where(df["x"] > 1).collect())
            1
        """
        if self._rows is None:
            rows, job = self._run(lambda: self._frame.submit(keep_missed))
            missed = job.missed() if keep_missed else None
            self._frame, self._rows, self._missed = self._engine.frame_of(rows), rows, missed
        elif keep_missed and self._missed is None:
            raise InvalidError(
                "the frame is collected, and the rows that missed their keys were not kept; say "
                "keep_missed=True where it is first collected"
            )
        self._preview = 8 if num_preview_rows is None else num_preview_rows
        return self

    def missed(self) -> Missed:
        """The rows that missed their keys, of a frame that was collected with
        ``collect(keep_missed=True)``. They are those whose lookups gave null for a missing key, each
        element of a list by itself; a null key misses nothing.

        Returns:
            As ``rows`` a frame of ``store`` (the alias), ``key`` (as text) and ``row``, the number of the
            row in its input from 0: null where rows have none, as those of unions, and behind filters,
            joins, sorts and aggregates. As ``left_out`` how many more there are for which there was no
            room.

        Raises:
            NotCollectedError: It was not collected so. A frame that is made of this one is another.

        Example:
            >>> import keyloom
            >>> with keyloom.Session():
            ...     _ = keyloom.attach(keyloom.load_kv("memory", name="ages", initial_data={"ann": 30}))
            ...     df = keyloom.from_pydict({"who": ["ann", "eve"]})
            ...     age = keyloom.kv_get("who", source="ages", on_error="null")
            ...     rows, left_out = df.select(age).collect(keep_missed=True).missed()
            ...     rows.to_pydict(), left_out
            ({'store': ['ages'], 'key': ['eve'], 'row': [1]}, 0)
        """
        if self._missed is None:
            raise NotCollectedError(
                "which rows missed their keys is known of a frame that was collected with "
                "collect(keep_missed=True)"
            )
        rows, left_out = self._missed
        frame = self._answer(self._engine.frame_of(rows))
        frame._rows = rows
        return Missed(frame, left_out)

    def to_arrow(self) -> pa.Table:
        """The rows as a pyarrow table.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.to_arrow().num_rows
            2
        """
        return pa.table(self._computed())

    def to_arrow_iter(self) -> Iterator[pa.RecordBatch]:
        """The rows as they come, as pyarrow batches.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> [batch.num_rows for batch in df.to_arrow_iter()]
            [2]
        """
        if self._rows is not None:
            yield from pa.table(self._rows).to_batches()
            return
        job = self._frame.submit()
        while (rows := job.next()) is not None:
            yield from pa.table(rows).to_batches()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if self._rows is not None:
            return self._rows.__arrow_c_stream__(requested_schema)
        return self._frame.submit().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._frame.schema().__arrow_c_schema__()

    def to_pydict(self) -> dict[str, list[Any]]:
        """The rows as a dict of columns.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.to_pydict()
            {'x': [1, 2]}
        """
        columns: dict[str, list[Any]] = _unique(self.to_arrow()).to_pydict()
        return columns

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows as dicts.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> df.to_pylist()
            [{'x': 1}, {'x': 2}]
        """
        rows: list[dict[str, Any]] = _unique(self.to_arrow()).to_pylist()
        return rows

    def to_pandas(self, **options: Any) -> pandas.DataFrame:
        """The rows as a pandas frame; options are those of ``pyarrow.Table.to_pandas``."""
        frame: pandas.DataFrame = _unique(self.to_arrow()).to_pandas(**options)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """The rows as a Polars frame."""
        import polars

        return cast("polars.DataFrame", polars.from_arrow(_unique(self.to_arrow())))

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts, as they come.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> for row in df:
            ...     print(row)
            {'x': 1}
            {'x': 2}
        """
        for batch in self.to_arrow_iter():
            yield from _unique(batch).to_pylist()

    __iter__ = iter_rows

    def with_join_path(self, join_path: Literal["auto", "lookup", "scan"]) -> DataFrame:
        """The same frame, whose joins with stores are made in one way, whatever its session says.

        Args:
            join_path: ``"lookup"`` asks stores for the keys, ``"scan"`` reads them whole, ``"auto"``
                is the cheaper of these. The rows are the same.

        Raises:
            InvalidError: There is no such way.

        Example:
            >>> import keyloom
            >>> keyloom.from_pydict({"x": [1]}).with_join_path("scan").to_pydict()
            {'x': [1]}
        """
        return self._answer(self._frame.with_join_path(join_path))

    def with_shuffle(
        self,
        shuffle: Literal["never", "auto", "always"],
        *,
        min_rows: int | None = None,
        partitions: int | None = None,
    ) -> DataFrame:
        """The same frame, whose rows the workers of a cluster shuffle among themselves for groups, joins
        and windows, whatever its session says. Its rows come in the order of its last ``sort``, and in no
        other.

        Args:
            shuffle: ``"never"``, ``"always"``, or ``"auto"``: where an input is large.
            min_rows: From how many rows of the largest input on ``"auto"`` shuffles.
            partitions: Into how many parts each worker's rows are shuffled.

        Raises:
            InvalidError: There is no such way, or a number is out of its bounds.

        Example:
            >>> import keyloom
            >>> keyloom.from_pydict({"x": [1]}).with_shuffle("auto").to_pydict()
            {'x': [1]}
        """
        return self._answer(self._frame.with_shuffle(shuffle, min_rows, partitions))

    def with_group_keys(self, group_keys: Literal["never", "auto", "always"]) -> DataFrame:
        """The same frame, whose rows are grouped by their keys below the lookups of what they are grouped
        by, or not: a matter of one frame, of which sessions say nothing.

        Args:
            group_keys: ``"never"`` has all rows looked up, ``"always"`` groups them first wherever that
                gives the same, ``"auto"``, the default, where groups of a large input are shuffled.

        Raises:
            InvalidError: There is no such way.

        Example:
            >>> import keyloom
            >>> keyloom.from_pydict({"x": [1]}).with_group_keys("never").to_pydict()
            {'x': [1]}
        """
        return self._answer(self._frame.with_group_keys(group_keys))

    def explain(
        self,
        show_all: bool = False,
        *,
        analyze: bool = False,
        advise: bool = False,
        file: IO[str] | None = None,
    ) -> None:
        """Prints the plan: which stores are asked for what, and how.

        Args:
            show_all: Whether to print the query as it was asked and as it was optimized, too.
            analyze: Whether to run the query: each step then shows its time and what it counted,
                and notes say what was wasted.
            advise: Whether to print, too, what each way to the rows of stores is estimated to
                cost, and what would help.
            file: Where to print; stdout if not given.
        """
        out = sys.stdout if file is None else file
        if show_all:
            asked, optimized = self._frame.logical_plans()
            print(f"As asked:\n{asked}\n\nOptimized:\n{optimized}\n\nAs it runs:", file=out)
        print(self._frame.explain(analyze), file=out)
        if advise:
            advice = self._frame.advise()
            print(advice or "No store that is looked up has several ways to its rows.", file=out)

    # What people see.

    def show(self, n: int = 8) -> None:
        """Computes the first rows and prints them.

        Example:
            >>> import keyloom
            >>> keyloom.from_pydict({"x": [1, None]}).show()
            +-------+
            | x     |
            | int64 |
            +-------+
            | 1     |
            | null  |
            +-------+
            2 rows
        """
        rows = self.limit(_count(n) + 1)._frame.submit().collect(None)
        table = pa.table(rows)
        total = table.num_rows if table.num_rows <= n else None
        if self._rows is not None:
            total = self._rows.num_rows
        table = _first(table, n)
        if _displays_html():
            from IPython.display import HTML, display

            display(HTML(_display.html_table(table, total)))
            return
        print(_display.text_table(table, total))

    def __repr__(self) -> str:
        if self._rows is not None:
            shown = _first(pa.table(self._rows), self._preview)
            return _display.text_table(shown, self._rows.num_rows)
        return _display.text_table(self._frame.schema().empty_table(), 0).rpartition("\n")[0] + (
            "\nnot computed yet: show() prints the first rows, collect() computes all"
        )

    def _repr_html_(self) -> str:
        if self._rows is not None:
            shown = _first(pa.table(self._rows), self._preview)
            return _display.html_table(shown, self._rows.num_rows)
        table = _display.html_table(self._frame.schema().empty_table(), 0).partition("<small>")[0]
        return (
            table
            + "<small>not computed yet: show() prints the first rows, collect() computes all</small>"
        )

    def __bool__(self) -> NoReturn:
        raise ValueError("a frame has no truth of its own; count_rows() counts its rows")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a frame belongs to a session and cannot be pickled; pickle df.to_arrow()")

    # What writes it.

    def _write(self, start: Callable[[], _keyloom.Job]) -> Written:
        rows, _ = self._run(start)
        [row] = pa.table(rows).to_pylist()
        return Written(**row)

    def _write_to(self, path: StrPath, format: str, **options: Any) -> Written:
        given = _outputs.output(path, format=format, **options)
        return self._write(lambda: self._frame.write(given))

    def write_parquet(
        self,
        path: StrPath,
        if_exists: IfExists | None = None,
        *,
        partition_by: str | Sequence[str] | None = None,
        target_file_bytes: int | str | None = None,
        compression: str | None = None,
        storage_options: str | None = None,
        write_mode: Literal["append", "overwrite"] | None = None,
        single_file: bool = False,
    ) -> Written:
        """Has the workers write the rows as Parquet files in a folder. They can be seen when all of them
        are written; a query that fails or is interrupted leaves the folder as it was.

        Args:
            path: The folder: a path or a URL that means the same to every worker. Nothing need be there.
            if_exists: What becomes of files that are there: ``"error"``, which is the default, refuses
                to write, ``"overwrite"`` puts the new ones in their place, ``"append"`` adds them.
            partition_by: Columns whose values stand in the names of folders (``day=2024-01-01``) instead
                of in files.
            target_file_bytes: About the most bytes of a file: a number, or text with a unit, as
                ``"64MiB"``; 256 MiB if not given.
            compression: ``"snappy"``, which is the default, ``"none"``, ``"lz4"``, ``"zstd"`` or
                ``"gzip"``.
            storage_options: The name of a profile in the workers' settings, never secrets.
            write_mode: Daft's word for ``if_exists``.
            single_file: Whether ``path`` is one file, which this process writes on this machine, in
                place of the one that is there unless ``if_exists="error"``. No option for folders goes
                with it; ``compression`` may be ``"brotli"``, too.

        Returns:
            Where how much was written.

        Raises:
            InvalidError: An option is not understood or does not fit another; a column cannot be written.
            PermissionDeniedError: The workers' settings do not allow to write there.
            KeyloomError: Files are there already, or cannot be written, or the query fails.

        Example:
            >>> import keyloom, tempfile
            >>> df = keyloom.from_pydict({"x": [1, 2], "day": ["mon", "tue"]})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     written = df.write_parquet(folder, partition_by="day")
            ...     written.rows, written.files, keyloom.read_parquet(folder).count_rows()
            (2, 2, 2)
        """
        given = _outputs.mode(if_exists, "write_mode", write_mode)
        options = {
            "partition_by": _outputs.names(partition_by),
            "target_file_bytes": target_file_bytes,
            "storage_options": storage_options,
        }
        if single_file:
            return self._write_file(path, given, compression, options)
        return self._write_to(path, "parquet", if_exists=given, compression=compression, **options)

    def _write_file(
        self,
        path: StrPath,
        if_exists: str | None,
        compression: str | None,
        options: Mapping[str, object],
    ) -> Written:
        for name, value in options.items():
            if value is not None:
                raise InvalidError(f"{name} does not go with single_file")
        if if_exists not in (None, "error", "overwrite"):
            raise InvalidError(
                f"with single_file, if_exists is 'error' or 'overwrite', not '{if_exists}'"
            )
        if if_exists == "error" and Path(path).expanduser().exists():
            raise InvalidError(f"there is a file {path} already")
        file = str(Path(path).expanduser())
        listed = None if "://" in file else self._frame.listed_with(file)
        if listed is not None:
            warnings.warn(listed, stacklevel=3)
        batches, schema = self.to_arrow_iter(), self._frame.schema()
        target, rows, size = _outputs.parquet_file(path, schema, batches, compression)
        return Written(target, rows, size, files=1)

    def write_csv(
        self,
        path: StrPath,
        if_exists: IfExists | None = None,
        *,
        partition_by: str | Sequence[str] | None = None,
        target_file_bytes: int | str | None = None,
        compression: str | None = None,
        storage_options: str | None = None,
        write_mode: Literal["append", "overwrite"] | None = None,
    ) -> Written:
        """Has the workers write the rows as CSV files with a header, as :meth:`write_parquet` does.

        Args:
            path: The folder.
            if_exists: As for :meth:`write_parquet`, as are the others.
            compression: ``"none"``, which is the default, ``"gzip"`` or ``"zstd"``.

        Raises:
            InvalidError: As :meth:`write_parquet`; a column is a list or a struct.

        Example:
            >>> import keyloom, tempfile
            >>> df = keyloom.from_pydict({"x": [1, 2]})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     written = df.write_csv(folder)
            ...     keyloom.read_csv(folder).to_pydict()
            {'x': [1, 2]}
        """
        return self._write_to(
            path,
            "csv",
            if_exists=_outputs.mode(if_exists, "write_mode", write_mode),
            partition_by=_outputs.names(partition_by),
            target_file_bytes=target_file_bytes,
            compression=compression,
            storage_options=storage_options,
        )

    def write_json(
        self,
        path: StrPath,
        if_exists: IfExists | None = None,
        *,
        partition_by: str | Sequence[str] | None = None,
        target_file_bytes: int | str | None = None,
        compression: str | None = None,
        storage_options: str | None = None,
        write_mode: Literal["append", "overwrite"] | None = None,
    ) -> Written:
        """Has the workers write the rows as files with a JSON object a line, as :meth:`write_parquet` does.

        Args:
            path: The folder.
            if_exists: As for :meth:`write_parquet`, as are the others.
            compression: ``"none"``, which is the default, ``"gzip"`` or ``"zstd"``.

        Raises:
            InvalidError: As :meth:`write_parquet`.

        Example:
            >>> import keyloom, tempfile
            >>> df = keyloom.from_pydict({"x": [1, None]})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     written = df.write_json(folder)
            ...     keyloom.read_json(folder).to_pydict()
            {'x': [1, None]}
        """
        return self._write_to(
            path,
            "json",
            if_exists=_outputs.mode(if_exists, "write_mode", write_mode),
            partition_by=_outputs.names(partition_by),
            target_file_bytes=target_file_bytes,
            compression=compression,
            storage_options=storage_options,
        )

    def write_arrow(
        self,
        path: StrPath,
        if_exists: IfExists | None = None,
        *,
        partition_by: str | Sequence[str] | None = None,
        target_file_bytes: int | str | None = None,
        compression: str | None = None,
        storage_options: str | None = None,
        write_mode: Literal["append", "overwrite"] | None = None,
    ) -> Written:
        """Has the workers write the rows as Arrow IPC files, as :meth:`write_parquet` does. ``read_ipc``
        reads them.

        Args:
            path: The folder.
            if_exists: As for :meth:`write_parquet`, as are the others.
            compression: ``"none"``, which is the default, ``"lz4"`` or ``"zstd"``.

        Raises:
            InvalidError: As :meth:`write_parquet`.

        Example:
            >>> import keyloom, tempfile
            >>> df = keyloom.from_pydict({"x": [[1, 2], None]})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     written = df.write_arrow(folder)
            ...     keyloom.read_ipc(folder).to_pydict()
            {'x': [[1, 2], None]}
        """
        return self._write_to(
            path,
            "arrow",
            if_exists=_outputs.mode(if_exists, "write_mode", write_mode),
            partition_by=_outputs.names(partition_by),
            target_file_bytes=target_file_bytes,
            compression=compression,
            storage_options=storage_options,
        )

    def write_lance(
        self,
        path: StrPath,
        if_exists: LanceIfExists | Literal["create"] | None = None,
        *,
        key: str | Sequence[str] | None = None,
        target_file_bytes: int | str | None = None,
        storage_options: str | None = None,
        mode: Literal["create", "append", "overwrite"] | None = None,
    ) -> Written:
        """Has the workers write the rows to a Lance dataset, as its next version: all of them, or none.

        Args:
            path: The dataset: a path or a URL that means the same to every worker.
            if_exists: What becomes of a dataset that is there: ``"error"``, which is the default, refuses
                to write; ``"overwrite"`` makes a version of the new rows alone; ``"append"`` adds them;
                ``"upsert"`` replaces the rows whose keys are there, and adds the others;
                ``"add_columns"`` adds the columns that it does not have, of rows that are its own, all of
                them and in its order.
            key: For ``"upsert"``: the column, or columns, that tell rows apart.
            target_file_bytes: About the most bytes of a file, as for :meth:`write_parquet`.
            storage_options: The name of a profile in the workers' settings, never secrets.
            mode: Daft's word for ``if_exists``; its ``"create"`` is ``"error"``.

        Returns:
            Where how much was written, and the dataset's new version.

        Raises:
            InvalidError: An option is not understood or does not fit another, or the rows do not fit the
                dataset.
            PermissionDeniedError: The workers' settings do not allow to write there.
            KeyloomError: A dataset is there already, or cannot be written, or the query fails.

        Example:
            >>> import keyloom, pathlib, tempfile
            >>> items = keyloom.from_pydict({"id": [1, 2], "n": [10, 20]})
            >>> changed = keyloom.from_pydict({"id": [2, 3], "n": [21, 30]})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder, "items.lance")
            ...     first = items.write_lance(path)
            ...     second = changed.write_lance(path, "upsert", key="id")
            ...     first.version, second.version
            ...     keyloom.read_lance(path).sort("id").to_pydict()
            (1, 2)
            {'id': [1, 2, 3], 'n': [10, 21, 30]}
        """
        return self._write_to(
            path,
            "lance",
            if_exists=_outputs.mode(if_exists, "mode", mode),
            key=_outputs.names(key),
            target_file_bytes=target_file_bytes,
            storage_options=storage_options,
        )

    def submit(
        self,
        name: str | None = None,
        *,
        detached: bool = True,
        output: Output | None = None,
        resumes: bool = False,
        id: str | uuid.UUID | None = None,
    ) -> JobHandle:
        """Hands the query in as a job, and does not wait for it.

        Args:
            name: What people know it by, in lists of jobs: a line of at most 256 bytes.
            detached: Whether it goes on when this process ends. Else it is cancelled when what this
                answers is gone, and waits until ``wait`` or ``results`` takes its rows.
            output: Where workers write its rows: a path, or a dict of the options of an ``[output]`` in a
                job file, as ``{"path": "/out", "format": "csv", "if_exists": "append"}``. A path alone is
                of a Lance dataset if it ends in ``.lance``, else of a folder of Parquet files, neither of
                which may be there. Without one, its rows wait for a while for :meth:`JobHandle.results`.
            resumes: Whether it goes on by itself when the coordinator was restarted. It must be detached,
                have an output, and read files and stores alone, no rows of this process; and the
                coordinator must have a ``state_folder``.
            id: A UUID to know it by; a fresh one if not given. A job of an id that is known already does
                not run once more: so a program that does not know whether its last try came through may
                try again.

        Raises:
            InvalidError: An option is not understood or does not fit another.
            PermissionDeniedError: The workers' settings do not allow to write there.
            KeyloomError: The output is there already, or the cluster takes no more jobs.

        Example:
            >>> import keyloom, tempfile
            >>> with keyloom.Session(), tempfile.TemporaryDirectory() as folder:
            ...     df = keyloom.from_pydict({"x": [1, 2]})
            ...     job = df.submit("nightly", output={"path": folder, "format": "csv"})
            ...     job.wait(timeout=60).written.rows
            2
        """
        given = {
            "name": name,
            "detached": detached,
            "resumes": resumes,
            "id": None if id is None else str(id),
        }
        to = None if output is None else _outputs.described(output)
        handle = self._frame.hand_in(json.dumps(given), to)
        return JobHandle(handle, self._session, self._engine)


class Missed(NamedTuple):
    """The rows that missed their keys, as :meth:`DataFrame.missed` tells them."""

    rows: DataFrame
    """A frame, collected, of ``store``, ``key`` and ``row``."""
    left_out: int
    """How many more there are for which there was no room."""


class NotCollectedError(RuntimeError, TypeError):
    """A frame was asked for what it has once it is collected. Iterating does without its length, as
    ``list`` takes a ``TypeError`` for."""


def _value(value: Any) -> Expression:
    return value if isinstance(value, Expression) else lit(value)


def _count(rows: int) -> int:
    whole = hasattr(rows, "__index__") and not isinstance(rows, bool)
    if not whole or operator.index(rows) < 0:
        raise InvalidError(f"a number of rows is a whole number of at least 0, not {rows!r}")
    return operator.index(rows)


def _names(parts: list[Expression]) -> list[str]:
    """What columns are called: a lookup like its store, if no other column is."""
    names = [part._store or part.name() for part in parts]
    return [
        part.name() if names.count(name) > 1 else name
        for part, name in zip(parts, names, strict=True)
    ]


def _exploded(frame: DataFrame, parts: list[Expression]) -> DataFrame:
    names = [part.name() for part in parts if part._exploded]
    return frame.explode(*names) if names else frame


def _keys(keys: Any) -> list[str]:
    if keys is None:
        return []
    names = []
    for key in keys if isinstance(keys, (list, tuple)) else [keys]:
        part = column_or_expression(key)
        if not part._expr.is_column(part.name()):
            raise InvalidError(
                f"a key of a join is a column; add {part!r} as one, with with_column"
            )
        names.append(part.name())
    return names


def _unique(rows: Any) -> Any:
    names = rows.schema.names
    for name in names:
        if names.count(name) > 1:
            raise InvalidError(f"two columns are called '{name}'; give one another name")
    return rows


def _first(table: pa.Table, rows: int) -> pa.Table:
    # pyarrow would invent rows of a table without columns.
    return table.slice(0, min(rows, table.num_rows))


def _displays_html() -> bool:
    from keyloom._progress import in_notebook

    return in_notebook()
