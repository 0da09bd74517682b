"""SQL over frames."""

from __future__ import annotations

import inspect
import re
from typing import Any

from keyloom.dataframe import DataFrame
from keyloom.exceptions import InvalidError
from keyloom.session import current_session

__all__ = ["sql"]


def sql(sql: str, register_globals: bool = True, **bindings: DataFrame) -> DataFrame:
    """A query in SQL. Names of tables mean the caller's variables that hold frames.

    Attached stores are tables under their aliases, too, unless a frame is called so.

    ``kv_get``, ``kv_batch_get``, ``kv_get_all`` and ``kv_exists`` take their options by name, as in
    ``kv_get(id, source => 'ages', on_error => 'null')``.

    Args:
        sql: The query. Names without quotes mean names in lower case.
        register_globals: Whether the caller's variables are looked at.
        **bindings: Further frames, which go before the caller's variables.

    Raises:
        InvalidError: The statement is wrong; nothing has run by then.

    Example:
        >>> import keyloom
        >>> numbers = keyloom.from_pydict({"x": [1, 2, 3]})
        >>> keyloom.sql("SELECT x * 2 AS y FROM numbers WHERE x > 1").to_pydict()
        {'y': [4, 6]}
    """
    session = current_session()
    frames: dict[str, DataFrame] = {}
    if register_globals:
        caller = inspect.currentframe()
        caller = None if caller is None else caller.f_back
        if caller is not None:
            frames.update(_frames({**caller.f_globals, **caller.f_locals}))
    others = sorted(name for name, frame in frames.items() if frame._session is not session)
    frames = {name: frame for name, frame in frames.items() if frame._session is session}
    for name, frame in bindings.items():
        if not isinstance(frame, DataFrame):
            kind = f"{type(frame).__module__}.{type(frame).__name__}"
            raise InvalidError(f"'{name}' is a {kind}, not a frame of Keyloom")
        frames[name] = frame
    tables = [(name, frame._frame) for name, frame in frames.items()]
    try:
        return DataFrame(session._rust.sql(sql, tables), session)
    except InvalidError as error:
        raise _told(error, sorted(frames), others) from error


def _told(error: InvalidError, frames: list[str], others: list[str]) -> InvalidError:
    """The error, or, of a table that is not found, one that names those that are there."""
    missing = re.fullmatch(r"table '(?:datafusion\.public\.)?(.*)' not found", str(error))
    if missing is None:
        return error
    name = missing.group(1)
    message = f"there is no frame '{name}'"
    if name in others:
        return InvalidError(f"the frame '{name}' is of another session")
    for frame in frames:
        if frame.lower() == name:
            return InvalidError(f'{message}; write "{frame}" in quotes: SQL folds other names')
    known = ", ".join(frames) or "none"
    return InvalidError(f"{message}; there are: {known}")


def _frames(variables: dict[str, Any]) -> dict[str, DataFrame]:
    return {name: value for name, value in variables.items() if isinstance(value, DataFrame)}
