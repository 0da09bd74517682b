//! Which types widen to which, and which do not.

use super::*;
use crate::input::parse_type;

fn parsed(name: &str) -> DataType {
    parse_type(name).unwrap_or_else(|error| panic!("{error}"))
}

/// Widens both ways round.
fn check(one: &str, other: &str, expected: Option<&str>) {
    let (first, second, expected) = (parsed(one), parsed(other), expected.map(parsed));
    assert_eq!(widen(&first, &second), expected, "{one} and {other}");
    assert_eq!(widen(&second, &first), expected, "{other} and {one}");
}

#[test]
fn numbers_widen_where_no_value_changes() {
    check("int16", "int64", Some("int64"));
    check("uint8", "uint16", Some("uint16"));
    check("int32", "uint32", Some("int64"));
    check("int8", "uint8", Some("int16"));
    check("int64", "uint32", Some("int64"));
    check("int64", "uint64", None);
    check("float32", "double", Some("double"));
    check("int16", "float32", Some("float32"));
    check("int32", "float32", Some("double"));
    check("uint32", "double", Some("double"));
    check("int8", "float16", Some("float16"));
    check("int64", "double", None);
    check("decimal(10, 2)", "decimal(8, 4)", Some("decimal(12, 4)"));
    check("decimal(38, 0)", "decimal(10, 5)", Some("decimal(43, 5)"));
    check("decimal(76, 0)", "decimal(10, 5)", None);
    check("int32", "decimal(10, 2)", Some("decimal(12, 2)"));
    check("uint64", "decimal(5, 4)", Some("decimal(24, 4)"));
    check("double", "decimal(5, 2)", None);
    check("Decimal32(5, 2)", "Decimal32(5, 0)", Some("Decimal32(7, 2)"));
    check("Decimal32(9, 0)", "Decimal32(9, 2)", Some("Decimal64(11, 2)"));
    check("boolean", "int8", None);
    check("bigint", "text", None);
}

#[test]
fn times_take_the_finer_unit_of_the_same_zone() {
    check("timestamp_s", "timestamp_ns", Some("timestamp_ns"));
    check("timestamp[ms, tz=UTC]", "timestamp[us, tz=UTC]", Some("timestamp[us, tz=UTC]"));
    check("timestamp[us, tz=UTC]", "timestamp[us]", None);
    check("timestamp[us, tz=UTC]", "timestamp[us, tz=Europe/Berlin]", None);
    check("date", "timestamp", None);
    check("date32", "date64", Some("date64"));
    check("time32[s]", "time32[ms]", Some("time32[ms]"));
    check("time32[ms]", "time64[us]", Some("time64[us]"));
    check("duration[s]", "duration[ns]", Some("duration[ns]"));
    let zone = |name: &str| DataType::Timestamp(TimeUnit::Second, Some(name.into()));
    assert_eq!(widen(&zone("UTC"), &zone("+00:00")), Some(zone("UTC")));
}

#[test]
fn texts_and_bytes_take_the_type_that_holds_both() {
    check("text", "large_utf8", Some("large_utf8"));
    check("text", "utf8_view", Some("text"));
    check("utf8_view", "large_utf8", Some("large_utf8"));
    check("binary", "binary_view", Some("binary"));
    check("large_binary", "binary", Some("large_binary"));
    check("fixed_size_binary[4]", "fixed_size_binary[8]", Some("binary"));
    check("fixed_size_binary[4]", "large_binary", Some("large_binary"));
    check("text", "binary", None);
    check("null", "date", Some("date"));
}

#[test]
fn dictionaries_widen_by_key_and_value() {
    check(
        "Dictionary(Int8, Utf8)",
        "Dictionary(Int32, LargeUtf8)",
        Some("Dictionary(Int32, LargeUtf8)"),
    );
    check("Dictionary(Int64, Utf8)", "Dictionary(UInt64, Utf8)", Some("text"));
    check("Dictionary(Int8, Int16)", "bigint", Some("bigint"));
    check("Dictionary(Int8, Utf8)", "bigint", None);
}

#[test]
fn nested_types_widen_within() {
    check("list<int16>", "list<int64>", Some("list<int64>"));
    check("list<int16>", "large_list<int8>", Some("large_list<int16>"));
    check(
        "fixed_size_list<item: float>[2]",
        "fixed_size_list<item: double>[2]",
        Some("fixed_size_list<item: double>[2]"),
    );
    check(
        "fixed_size_list<item: float>[2]",
        "fixed_size_list<item: float>[3]",
        Some("list<float>"),
    );
    check("list<text>", "list<int64>", None);
    check("map<text, int32>", "map<text, int64>", Some("map<text, int64>"));
    let wide = widen(&parsed("struct<a: int32, b: text>"), &parsed("struct<c: date, a: int64>"));
    assert_eq!(wide, Some(parsed("struct<a: int64, b: text, c: date>")));
}

#[test]
fn a_field_that_is_missing_in_one_struct_is_nullable() {
    let whole = DataType::Struct(vec![Field::new("a", DataType::Int8, false)].into());
    let other = DataType::Struct(vec![Field::new("b", DataType::Int8, false)].into());
    let expected =
        vec![Field::new("a", DataType::Int8, true), Field::new("b", DataType::Int8, true)];
    assert_eq!(widen(&whole, &other), Some(DataType::Struct(expected.into())));
}
