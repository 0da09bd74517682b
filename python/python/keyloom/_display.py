"""Rows as tables for people, cut in rows, columns and values so that they fit."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

MOST_COLUMNS = 20
MOST_CHARACTERS = 30


def text_table(rows: pa.Table, total: int | None) -> str:
    """Rows between lines, and how many there are in all."""
    head, body = _cells(rows)
    widths = (
        [max(len(line) for cell in column for line in cell) for column in zip(*head, *body)]
        if head[0]
        else []
    )
    line = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def shown(row: Sequence[Sequence[str]]) -> list[str]:
        height = max((len(cell) for cell in row), default=0)
        lines = []
        for at in range(height):
            parts = [cell[at] if at < len(cell) else "" for cell in row]
            lines.append(
                "|" + "|".join(f" {part.ljust(width)} " for part, width in zip(parts, widths)) + "|"
            )
        return lines

    out = [line, *(part for row in head for part in shown(row)), line]
    out += [part for row in body for part in shown(row)]
    return "\n".join([*out, line, _note(rows, total)])


def html_table(rows: pa.Table, total: int | None) -> str:
    """Rows as HTML, and how many there are in all."""
    head, body = _cells(rows)

    def row(cells: Sequence[Sequence[str]], tag: str) -> str:
        inner = "".join(
            f"<{tag}>{'<br>'.join(html.escape(part) for part in cell)}</{tag}>" for cell in cells
        )
        return f"<tr>{inner}</tr>"

    above = "".join(row(cells, "th") for cells in head)
    below = "".join(row(cells, "td") for cells in body)
    note = html.escape(_note(rows, total))
    return f"<table><thead>{above}</thead><tbody>{below}</tbody></table><small>{note}</small>"


def _cells(rows: pa.Table) -> tuple[list[list[list[str]]], list[list[list[str]]]]:
    """The head, of names and types, and the rows. A cell is a list of lines."""
    shown = list(range(min(rows.num_columns, MOST_COLUMNS)))
    head = [[_cut(rows.schema.names[at]), _cut(str(rows.schema.types[at]))] for at in shown]
    columns = [[_value(value) for value in rows.column(at)] for at in shown]
    body = [[[column[row]] for column in columns] for row in range(rows.num_rows)]
    if rows.num_columns > MOST_COLUMNS:
        head.append([f"… {rows.num_columns - MOST_COLUMNS} more"])
        for row in body:
            row.append(["…"])
    return [head], body


def _value(scalar: pa.Scalar) -> str:
    return "null" if not scalar.is_valid else _cut(_text(scalar))


def _text(scalar: pa.Scalar) -> str:
    try:
        value: Any = _head(scalar)
    except ValueError:
        # Nanoseconds, and times that Python has no value for.
        value = str(scalar)
    text = (
        value
        if isinstance(value, str)
        else repr(value)
        if isinstance(value, (bytes, list, dict))
        else str(value)
    )
    return text


def _head(scalar: pa.Scalar) -> Any:
    """The value, of which there may be only as much as is shown."""
    values = getattr(scalar, "values", None)
    if isinstance(values, pa.Array) and len(values) > MOST_CHARACTERS:
        return values.slice(0, MOST_CHARACTERS).to_pylist()
    return scalar.as_py()


def _cut(text: str) -> str:
    # What is no character of a line would break the table, or be the terminal's to obey.
    text = "".join("⏎" if c == "\n" else c if c.isprintable() else "�" for c in text)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _note(rows: pa.Table, total: int | None) -> str:
    shown = rows.num_rows
    if total == shown:
        return _rows(shown)
    first = "the first row" if shown == 1 else f"the first {_rows(shown)}"
    if total is None:
        return first
    return f"the first {shown:,} of {_rows(total)}"


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"
