"""Groups of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from keyloom.datatype import is_number
from keyloom.expressions import Expression, col, column_or_expression

if TYPE_CHECKING:
    from keyloom.dataframe import DataFrame

__all__ = ["GroupedDataFrame"]


class GroupedDataFrame:
    """Groups of rows, which aggregates make frames of."""

    def __init__(self, frame: DataFrame, by: list[Expression]) -> None:
        self._frame = frame
        self._by = by

    def agg(self, *aggregates: Expression | str | Sequence[Expression | str]) -> DataFrame:
        """A row for each group: its key, and aggregates of its rows.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "a", "b"], "x": [1, 2, 3]})
            >>> df.groupby("k").agg(keyloom.col("x").sum().alias("all")).sort("k").to_pydict()
            {'k': ['a', 'b'], 'all': [3, 3]}
        """
        groups = [(part.name(), part._expr) for part in self._by]
        pairs = self._frame._pairs(flat(aggregates))
        return self._frame._answer(self._frame._frame.aggregate(groups, pairs))

    def sum(self, *columns: Expression | str) -> DataFrame:
        """The sums of columns; of all that are numbers, if none are named.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "a"], "x": [1, 2]})
            >>> df.groupby("k").sum("x").to_pydict()
            {'k': ['a'], 'x': [3]}
        """
        return self.agg([part.sum() for part in self._numbers(columns)])

    def mean(self, *columns: Expression | str) -> DataFrame:
        """The means of columns; of all that are numbers, if none are named.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "a"], "x": [1, 2]})
            >>> df.groupby("k").mean("x").to_pydict()
            {'k': ['a'], 'x': [1.5]}
        """
        return self.agg([part.mean() for part in self._numbers(columns)])

    def min(self, *columns: Expression | str) -> DataFrame:
        """The least values of columns.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "a"], "x": [1, 2]})
            >>> df.groupby("k").min("x").to_pydict()
            {'k': ['a'], 'x': [1]}
        """
        return self.agg([part.min() for part in self._others(columns)])

    def max(self, *columns: Expression | str) -> DataFrame:
        """The greatest values of columns.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "a"], "x": [1, 2]})
            >>> df.groupby("k").max("x").to_pydict()
            {'k': ['a'], 'x': [2]}
        """
        return self.agg([part.max() for part in self._others(columns)])

    def count(self, *columns: Expression | str) -> DataFrame:
        """How many values of columns are not null.

        Example:
            >>> import keyloom
            >>> df = keyloom.from_pydict({"k": ["a", "a"], "x": [1, None]})
            >>> df.groupby("k").count("x").to_pydict()
            {'k': ['a'], 'x': [1]}
        """
        return self.agg([part.count() for part in self._others(columns)])

    def _others(self, columns: Iterable[Expression | str]) -> list[Expression]:
        keys = {part.name() for part in self._by}
        given = [column_or_expression(column) for column in flat(columns)]
        return given or [col(name) for name in self._frame.column_names if name not in keys]

    def _numbers(self, columns: Iterable[Expression | str]) -> list[Expression]:
        schema = self._frame.schema()
        parts = self._others(columns)
        return parts if columns else [part for part in parts if is_number(schema[part.name()].type)]


def flat(parts: Iterable[Any]) -> list[Any]:
    """Parts, and the parts of lists among them."""
    every: list[Any] = []
    for part in parts:
        every.extend(part if isinstance(part, (list, tuple)) else [part])
    return every
