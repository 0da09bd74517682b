//! Values of types that Arrow's CSV reader does not read, or not without changing them.
//!
//! It drops the time from a date, digits from a time stamp or a decimal, and zones: such columns
//! are read as text and parsed here.

use std::{borrow::Cow, str::FromStr, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, StringArray, timezone::Tz,
    },
    compute::{
        CastOptions, can_cast_types, cast_with_options,
        kernels::cast_utils::{Parser, string_to_datetime},
    },
    datatypes::{
        ArrowTimestampType, DECIMAL256_MAX_PRECISION, DataType, Date32Type, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
    error::ArrowError,
};
use bigdecimal::BigDecimal;
use chrono::TimeZone;

/// The type that Arrow's reader is to give for a column of a type; none if CSV cannot hold it.
pub(super) fn decoded(data_type: &DataType) -> Option<DataType> {
    use DataType::*;
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32
        | Float64 | Utf8 | Utf8View | Time32(_) | Time64(_) | Null => Some(data_type.clone()),
        Date32 | Timestamp(..) => Some(Utf8),
        nested if nested.is_nested() => None,
        other => can_cast_types(&Utf8, other).then_some(Utf8),
    }
}

/// Values as Arrow's reader gave them, as values of the column's type.
pub(super) fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(ArrayRef::clone(array));
    }
    let parse = |texts: &StringArray| -> Result<ArrayRef, ArrowError> {
        Ok(match to {
            DataType::Date32 => Arc::new(parse::<Date32Type>(texts, date)?),
            DataType::Timestamp(TimeUnit::Second, zone) => {
                timestamps::<TimestampSecondType>(texts, zone.as_deref())?
            }
            DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                timestamps::<TimestampMillisecondType>(texts, zone.as_deref())?
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                timestamps::<TimestampMicrosecondType>(texts, zone.as_deref())?
            }
            DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
                timestamps::<TimestampNanosecondType>(texts, zone.as_deref())?
            }
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => decimals(texts, *scale, to)?,
            _ => strictly(texts, to)?,
        })
    };
    match array.as_string_opt::<i32>() {
        Some(texts) => parse(texts),
        None => Err(ArrowError::CastError(format!("{} to {to}", array.data_type()))),
    }
}

/// Decimals that hold all digits of the text.
fn decimals(texts: &StringArray, scale: i8, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let held = |text| {
        decimal(text, scale)
            .ok_or_else(|| ArrowError::ParseError(format!("'{text}' has digits beyond {to}")))
    };
    let texts: StringArray =
        texts.iter().map(|text| text.map(held).transpose()).collect::<Result<_, _>>()?;
    strictly(&texts, to)
}

/// A number without an exponent, if a scale holds all its digits.
fn decimal(text: &str, scale: i8) -> Option<Cow<'_, str>> {
    let plain = match text.contains(['e', 'E']) {
        true => Cow::Owned(without_exponent(text)?),
        false => Cow::Borrowed(text),
    };
    let places = plain.split_once('.').map_or(0, |(_, f)| f.trim_end_matches('0').len());
    (places <= usize::try_from(scale).unwrap_or(0)).then_some(plain)
}

fn without_exponent(text: &str) -> Option<String> {
    let number = BigDecimal::from_str(text).ok()?.normalized();
    let shift = number.fractional_digit_count().unsigned_abs();
    (shift <= u64::from(DECIMAL256_MAX_PRECISION)).then(|| number.to_plain_string())
}

fn strictly(texts: &StringArray, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(texts, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn parse<T: ArrowPrimitiveType>(
    texts: &StringArray,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>, ArrowError> {
    let parse = |text: &str| {
        parse(text)
            .ok_or_else(|| ArrowError::ParseError(format!("'{text}' is no {}", T::DATA_TYPE)))
    };
    texts.iter().map(|text| text.map(parse).transpose()).collect()
}

fn date(text: &str) -> Option<i32> {
    (text.len() <= 10).then(|| Date32Type::parse(text))?
}

fn timestamps<T: ArrowTimestampType>(
    texts: &StringArray,
    zone: Option<&str>,
) -> Result<ArrayRef, ArrowError> {
    let Some(name) = zone else {
        let local = |text: &str| (!has_zone(text)).then(|| timestamp::<T>(&chrono::Utc, text))?;
        return Ok(Arc::new(parse::<T>(texts, local)?));
    };
    let zone: Tz = name.parse()?;
    let array = parse::<T>(texts, |text| timestamp::<T>(&zone, text))?;
    Ok(Arc::new(array.with_timezone(name)))
}

/// Whether something follows the time that is no digit of it.
fn has_zone(text: &str) -> bool {
    let time = text.as_bytes().get(11..).unwrap_or_default();
    !time.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'))
}

/// A time stamp in a unit, if it holds all its digits.
fn timestamp<T: ArrowTimestampType>(zone: &impl TimeZone, text: &str) -> Option<i64> {
    let moment = string_to_datetime(zone, text).ok()?;
    let nanoseconds = moment.timestamp_subsec_nanos();
    let (value, step) = match T::UNIT {
        TimeUnit::Second => (moment.timestamp(), 1_000_000_000),
        TimeUnit::Millisecond => (moment.timestamp_millis(), 1_000_000),
        TimeUnit::Microsecond => (moment.timestamp_micros(), 1000),
        TimeUnit::Nanosecond => (moment.timestamp_nanos_opt()?, 1),
    };
    (nanoseconds % step == 0).then_some(value)
}
