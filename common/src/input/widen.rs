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
mod tests;
