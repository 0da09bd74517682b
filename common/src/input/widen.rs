//! The type of a column that has another type in each file: the narrowest that holds all values of
//! both, and changes none.

use std::{cmp::max, sync::Arc};

use arrow::datatypes::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION,
    DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Fields, TimeUnit,
};

/// The keys of a field's metadata that say what its values mean beyond their type.
const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

/// The narrowest type that holds all values of both types as they are, if there is one.
///
/// Times of two units take the finer one, although it does not reach as many years: a cast to it
/// must fail for those. A date is no time of day, and an integer no text: nothing holds both.
pub fn widen(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::*;
    if one == other {
        return Some(one.clone());
    }
    match (one, other) {
        (Null, wide) | (wide, Null) => Some(wide.clone()),
        (Dictionary(key, value), Dictionary(other_key, other_value)) => {
            let value = widen(value, other_value)?;
            Some(match widen(key, other_key) {
                Some(key) => Dictionary(Box::new(key), Box::new(value)),
                None => value,
            })
        }
        (Dictionary(_, value), plain) | (plain, Dictionary(_, value)) => widen(value, plain),
        (RunEndEncoded(_, value), plain) | (plain, RunEndEncoded(_, value)) => {
            widen(value.data_type(), plain)
        }
        (Timestamp(unit, zone), Timestamp(other_unit, other_zone)) => {
            let equal = zone == other_zone
                || matches!((zone, other_zone), (Some(a), Some(b)) if is_utc(a) && is_utc(b));
            equal.then(|| Timestamp(*max(unit, other_unit), zone.clone()))
        }
        (Date32, Date64) | (Date64, Date32) => Some(Date64),
        (Duration(unit), Duration(other)) => Some(Duration(*max(unit, other))),
        (Time32(_) | Time64(_), Time32(_) | Time64(_)) => {
            Some(time(*max(time_unit(one)?, time_unit(other)?)))
        }
        (Struct(fields), Struct(others)) => Some(Struct(widen_fields(fields, others)?)),
        (Map(entries, sorted), Map(other_entries, other_sorted)) => {
            Some(Map(widen_entries(entries, other_entries)?, *sorted && *other_sorted))
        }
        _ => widen_numbers(one, other)
            .or_else(|| widen_strings(one, other))
            .or_else(|| widen_bytes(one, other))
            .or_else(|| widen_lists(one, other)),
    }
}

/// The field that holds all values of both fields, by the name of the first.
pub(super) fn widen_field(one: &Field, other: &Field) -> Option<Field> {
    let data_type = widen(one.data_type(), other.data_type())?;
    let nullable = one.is_nullable() || other.is_nullable();
    let mut field = one.clone().with_data_type(data_type).with_nullable(nullable);
    let mut metadata = one.metadata().clone();
    let extension = |field: &Field| {
        let value = |key| field.metadata().get(key).cloned();
        value(EXTENSION_NAME).map(|name| (name, value(EXTENSION_METADATA)))
    };
    match (extension(one), extension(other)) {
        (one, other) if one == other => {}
        (Some(_), Some(_)) => return None,
        // Nulls are of any kind, and take the meaning of the others' values.
        _ if one.data_type().is_null() => metadata = other.metadata().clone(),
        _ if other.data_type().is_null() => {}
        // Values of one file are not known to mean it.
        _ => metadata.retain(|key, _| key != EXTENSION_NAME && key != EXTENSION_METADATA),
    }
    field.set_metadata(metadata);
    Some(field)
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Z" | "+00:00" | "Etc/UTC")
}

fn time_unit(data_type: &DataType) -> Option<&TimeUnit> {
    match data_type {
        DataType::Time32(unit) | DataType::Time64(unit) => Some(unit),
        _ => None,
    }
}

fn time(unit: TimeUnit) -> DataType {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => DataType::Time32(unit),
        TimeUnit::Microsecond | TimeUnit::Nanosecond => DataType::Time64(unit),
    }
}

/// What a type of numbers holds.
#[derive(Clone, Copy)]
enum Number {
    Integer {
        signed: bool,
        bits: u32,
    },
    Float {
        bits: u32,
    },
    /// Digits before and behind the point; the bits are those of its Arrow type.
    Decimal {
        whole: i32,
        scale: i32,
        bits: u32,
    },
}

fn widen_numbers(one: &DataType, other: &DataType) -> Option<DataType> {
    use Number::*;
    match (number(one)?, number(other)?) {
        (Integer { signed: a, bits: one }, Integer { signed: b, bits: other }) => match (a, b) {
            (true, false) => integer(true, max(one, other * 2)),
            (false, true) => integer(true, max(one * 2, other)),
            _ => integer(a, max(one, other)),
        },
        (Float { bits: one }, Float { bits: other }) => float(max(one, other)),
        // A float holds every integer of half its bits.
        (Integer { bits: int, .. }, Float { bits })
        | (Float { bits }, Integer { bits: int, .. }) => float(max(int * 2, bits)),
        (
            Decimal { whole: one, scale: a, bits },
            Decimal { whole: other, scale: b, bits: other_bits },
        ) => decimal(max(one, other), max(a, b), max(bits, other_bits)),
        (Integer { signed, bits: int }, Decimal { whole, scale, bits })
        | (Decimal { whole, scale, bits }, Integer { signed, bits: int }) => {
            decimal(max(whole, digits(signed, int)), max(scale, 0), bits)
        }
        (Float { .. }, Decimal { .. }) | (Decimal { .. }, Float { .. }) => None,
    }
}

fn number(data_type: &DataType) -> Option<Number> {
    use DataType::*;
    let integer = |signed, bits| Some(Number::Integer { signed, bits });
    let decimal = |precision: u8, scale: i8, bits| {
        let (precision, scale) = (i32::from(precision), i32::from(scale));
        Some(Number::Decimal { whole: precision - scale, scale, bits })
    };
    match data_type {
        Int8 => integer(true, 8),
        Int16 => integer(true, 16),
        Int32 => integer(true, 32),
        Int64 => integer(true, 64),
        UInt8 => integer(false, 8),
        UInt16 => integer(false, 16),
        UInt32 => integer(false, 32),
        UInt64 => integer(false, 64),
        Float16 => Some(Number::Float { bits: 16 }),
        Float32 => Some(Number::Float { bits: 32 }),
        Float64 => Some(Number::Float { bits: 64 }),
        Decimal32(precision, scale) => decimal(*precision, *scale, 32),
        Decimal64(precision, scale) => decimal(*precision, *scale, 64),
        Decimal128(precision, scale) => decimal(*precision, *scale, 128),
        Decimal256(precision, scale) => decimal(*precision, *scale, 256),
        _ => None,
    }
}

fn integer(signed: bool, bits: u32) -> Option<DataType> {
    Some(match (signed, bits) {
        (true, 8) => DataType::Int8,
        (true, 16) => DataType::Int16,
        (true, 32) => DataType::Int32,
        (true, 64) => DataType::Int64,
        (false, 8) => DataType::UInt8,
        (false, 16) => DataType::UInt16,
        (false, 32) => DataType::UInt32,
        (false, 64) => DataType::UInt64,
        _ => return None,
    })
}

fn float(bits: u32) -> Option<DataType> {
    match bits {
        16 => Some(DataType::Float16),
        32 => Some(DataType::Float32),
        64 => Some(DataType::Float64),
        _ => None,
    }
}

/// How many decimal digits the largest integer has.
fn digits(signed: bool, bits: u32) -> i32 {
    match (signed, bits) {
        (_, 8) => 3,
        (_, 16) => 5,
        (_, 32) => 10,
        (true, _) => 19,
        (false, _) => 20,
    }
}

fn decimal(whole: i32, scale: i32, bits: u32) -> Option<DataType> {
    let precision = u8::try_from(max(whole + scale, 1)).ok()?;
    let scale = i8::try_from(scale).ok()?;
    if bits <= 32 && precision <= DECIMAL32_MAX_PRECISION {
        Some(DataType::Decimal32(precision, scale))
    } else if bits <= 64 && precision <= DECIMAL64_MAX_PRECISION {
        Some(DataType::Decimal64(precision, scale))
    } else if bits <= 128 && precision <= DECIMAL128_MAX_PRECISION {
        Some(DataType::Decimal128(precision, scale))
    } else if precision <= DECIMAL256_MAX_PRECISION {
        Some(DataType::Decimal256(precision, scale))
    } else {
        None
    }
}

fn widen_strings(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::*;
    match (one, other) {
        (LargeUtf8, Utf8 | Utf8View) | (Utf8 | Utf8View, LargeUtf8) => Some(LargeUtf8),
        (Utf8, Utf8View) | (Utf8View, Utf8) => Some(Utf8),
        _ => None,
    }
}

fn widen_bytes(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::*;
    match (one, other) {
        (LargeBinary, Binary | BinaryView | FixedSizeBinary(_))
        | (Binary | BinaryView | FixedSizeBinary(_), LargeBinary) => Some(LargeBinary),
        (Binary | BinaryView | FixedSizeBinary(_), Binary | BinaryView | FixedSizeBinary(_)) => {
            Some(Binary)
        }
        _ => None,
    }
}

fn widen_lists(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::*;
    let item = |list: &DataType| match list {
        List(item)
        | LargeList(item)
        | ListView(item)
        | LargeListView(item)
        | FixedSizeList(item, _) => Some(Arc::clone(item)),
        _ => None,
    };
    let wide = Arc::new(widen_field(item(one)?.as_ref(), item(other)?.as_ref())?);
    let is_large = |list: &DataType| matches!(list, LargeList(_) | LargeListView(_));
    Some(match (one, other) {
        (FixedSizeList(_, size), FixedSizeList(_, other_size)) if size == other_size => {
            FixedSizeList(wide, *size)
        }
        (ListView(_), ListView(_)) => ListView(wide),
        (LargeListView(_), LargeListView(_)) => LargeListView(wide),
        _ if is_large(one) || is_large(other) => LargeList(wide),
        _ => List(wide),
    })
}

/// Fields by name: those of the first in their order, then those that only the other has. A field
/// that one does not have is null there.
fn widen_fields(fields: &Fields, others: &Fields) -> Option<Fields> {
    let nullable = |field: &FieldRef| Arc::new(field.as_ref().clone().with_nullable(true));
    let mut wide = Vec::with_capacity(max(fields.len(), others.len()));
    for field in fields {
        wide.push(match others.find(field.name()) {
            Some((_, other)) => Arc::new(widen_field(field, other)?),
            None => nullable(field),
        });
    }
    let added = others.iter().filter(|other| fields.find(other.name()).is_none());
    wide.extend(added.map(nullable));
    Some(wide.into())
}

/// Entries of maps by place: their names differ between writers and mean nothing.
fn widen_entries(one: &Field, other: &Field) -> Option<FieldRef> {
    let (DataType::Struct(fields), DataType::Struct(others)) = (one.data_type(), other.data_type())
    else {
        return None;
    };
    if fields.len() != others.len() {
        return None;
    }
    let wide = fields.iter().zip(others).map(|(field, other)| widen_field(field, other));
    let wide = DataType::Struct(wide.collect::<Option<Fields>>()?);
    Some(Arc::new(one.clone().with_data_type(wide)))
}

#[cfg(test)]
mod tests {
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
        let wide =
            widen(&parsed("struct<a: int32, b: text>"), &parsed("struct<c: date, a: int64>"));
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
}
