"""The types of columns: pyarrow's, under the names that Daft gives them."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pyarrow as pa

from keyloom.exceptions import InvalidError

__all__ = ["DataType", "arrow_type"]

_PYTHON: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us"),
    decimal.Decimal: pa.decimal128(38, 18),
}


class DataType:
    """Types by Daft's names. Each method answers a pyarrow type.

    Example:
        >>> from keyloom import DataType
        >>> DataType.list(DataType.float32())
        ListType(list<item: float>)
    """

    bool = staticmethod(pa.bool_)
    int8 = staticmethod(pa.int8)
    int16 = staticmethod(pa.int16)
    int32 = staticmethod(pa.int32)
    int64 = staticmethod(pa.int64)
    uint8 = staticmethod(pa.uint8)
    uint16 = staticmethod(pa.uint16)
    uint32 = staticmethod(pa.uint32)
    uint64 = staticmethod(pa.uint64)
    float32 = staticmethod(pa.float32)
    float64 = staticmethod(pa.float64)
    string = staticmethod(pa.string)
    binary = staticmethod(pa.binary)
    fixed_size_binary = staticmethod(pa.binary)
    date = staticmethod(pa.date32)
    null = staticmethod(pa.null)

    @staticmethod
    def timestamp(timeunit: str = "us", timezone: str | None = None) -> pa.DataType:
        """Points in time, in units of ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.

        Example:
            >>> from keyloom import DataType
            >>> DataType.timestamp("ms", "UTC")
            TimestampType(timestamp[ms, tz=UTC])
        """
        return pa.timestamp(timeunit, timezone)

    @staticmethod
    def decimal128(precision: int, scale: int) -> pa.DataType:
        """Decimals of some digits, ``scale`` of them behind the point.

        Example:
            >>> from keyloom import DataType
            >>> DataType.decimal128(10, 2)
            Decimal128Type(decimal128(10, 2))
        """
        return pa.decimal128(precision, scale)

    @staticmethod
    def list(dtype: Any) -> pa.DataType:
        """Lists of any length.

        Example:
            >>> from keyloom import DataType
            >>> DataType.list(int)
            ListType(list<item: int64>)
        """
        return pa.list_(arrow_type(dtype))

    @staticmethod
    def fixed_size_list(dtype: Any, size: int) -> pa.DataType:
        """Lists of one length: vectors, for example.

        Example:
            >>> from keyloom import DataType
            >>> DataType.fixed_size_list(DataType.float32(), 3)
            FixedSizeListType(fixed_size_list<item: float>[3])
        """
        return pa.list_(arrow_type(dtype), size)

    embedding = fixed_size_list

    @staticmethod
    def struct(fields: dict[str, Any]) -> pa.DataType:
        """Structs of fields.

        Example:
            >>> from keyloom import DataType
            >>> DataType.struct({"lat": float, "lon": float})
            StructType(struct<lat: double, lon: double>)
        """
        return pa.struct([(name, arrow_type(dtype)) for name, dtype in fields.items()])


def arrow_type(dtype: pa.DataType | type | str) -> pa.DataType:
    """The pyarrow type that something means: one of its types, a Python type, or a name.

    Raises:
        InvalidError: It means none.

    Example:
        >>> from keyloom.datatype import arrow_type
        >>> arrow_type("int64"), arrow_type(str)
        (DataType(int64), DataType(string))
    """
    if isinstance(dtype, pa.DataType):
        return dtype
    if isinstance(dtype, type) and dtype in _PYTHON:
        return _PYTHON[dtype]
    if isinstance(dtype, str):
        try:
            return pa.type_for_alias(dtype)
        except ValueError as error:
            raise InvalidError(
                f"'{dtype}' is no name of a type, as 'int64' or 'string' are"
            ) from error
    raise InvalidError(f"{dtype!r} is no type; give a DataType, a pyarrow type or a name")


def common_type(one: pa.DataType, two: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of two types, if there is one: of strings, of bytes and of numbers
    there is. No digit of an integer is lost, unless it meets a fraction."""
    types = pa.types
    if one == two:
        return one
    if types.is_dictionary(one) or types.is_dictionary(two):
        plain = (each.value_type if types.is_dictionary(each) else each for each in (one, two))
        return common_type(*plain)
    if types.is_null(one) or types.is_null(two):
        return two if types.is_null(one) else one
    if _is_text(one) and _is_text(two):
        return pa.large_string() if pa.large_string() in (one, two) else pa.string()
    if _is_bytes(one) and _is_bytes(two):
        return pa.large_binary() if pa.large_binary() in (one, two) else pa.binary()
    if types.is_floating(one) and types.is_floating(two):
        return max(one, two, key=lambda each: each.bit_width)
    if types.is_integer(one) and types.is_integer(two):
        return _common_integer(one, two)
    if (types.is_floating(one) or types.is_integer(one)) and (
        types.is_floating(two) or types.is_integer(two)
    ):
        return pa.float64()
    return None


def _common_integer(one: pa.DataType, two: pa.DataType) -> pa.DataType | None:
    signed = pa.types.is_signed_integer
    if signed(one) == signed(two):
        return max(one, two, key=lambda each: each.bit_width)
    unsigned, other = (two, one) if signed(one) else (one, two)
    bits = max(2 * unsigned.bit_width, other.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits)


def _is_text(dtype: pa.DataType) -> bool:
    return pa.types.is_string(dtype) or dtype in (pa.large_string(), pa.string_view())


def _is_bytes(dtype: pa.DataType) -> bool:
    return pa.types.is_binary(dtype) or dtype in (pa.large_binary(), pa.binary_view())


def is_number(dtype: pa.DataType) -> bool:
    """Whether values can be added up."""
    types = pa.types
    return bool(types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype))
