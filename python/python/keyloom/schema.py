"""The columns of frames: their names and types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

__all__ = ["Field", "Schema"]


class Schema(Mapping[str, "Field"]):
    """The columns of a frame, by name. ``schema["x"].type`` is a pyarrow type.

    Example:
        >>> import keyloom
        >>> schema = keyloom.from_pydict({"x": [1], "y": ["a"]}).schema()
        >>> schema["y"].type
        DataType(string)
        >>> schema
        x  int64
        y  string
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def __getitem__(self, name: str) -> Field:
        at = self._schema.get_field_index(name)
        if at < 0:
            raise KeyError(name)
        return Field(self._schema.field(at))

    def __iter__(self) -> Iterator[str]:
        return iter(self._schema.names)

    def __len__(self) -> int:
        return len(self._schema)

    def column_names(self) -> list[str]:
        """The names, in order."""
        return list(self._schema.names)

    def to_pyarrow_schema(self) -> pa.Schema:
        """The same as pyarrow has it."""
        return self._schema

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self._schema.equals(other._schema)

    def __hash__(self) -> int:
        return hash(self._schema)

    def __repr__(self) -> str:
        width = max((len(name) for name in self._schema.names), default=0)
        fields = (f"{field.name.ljust(width)}  {field.type}" for field in self._schema)
        return "\n".join(fields) or "no columns"


class Field:
    """A column's name and type, and whether it may be null. ``dtype`` is another word for ``type``."""

    def __init__(self, field: pa.Field) -> None:
        self.name: str = field.name
        self.dtype: pa.DataType = field.type
        self.type: pa.DataType = field.type
        self.nullable: bool = field.nullable

    def __repr__(self) -> str:
        return f"{self.name}: {self.type}"
