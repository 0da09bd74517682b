//! What type a column's values have, by their text.
//!
//! A type is guessed only where no value is changed by it: what Arrow's reader and ours read back
//! from such a column is what the text says.

use std::sync::Arc;

use arrow::{
    compute::kernels::cast_utils::{Parser, string_to_datetime},
    datatypes::{DataType, Date32Type, Float64Type, TimeUnit},
};
use chrono::{DateTime, Utc};

/// Integers beyond this are not all numbers with a fraction, too.
const EXACT: u64 = 1 << 53;

/// What was seen of a column's values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guess {
    seen: u16,
    /// The most digits of fractions of seconds.
    digits: u8,
}

const BOOLEAN: u16 = 1;
const INTEGER: u16 = 1 << 1;
/// An integer that is not exact as a number with a fraction.
const LONG: u16 = 1 << 2;
const FLOAT: u16 = 1 << 3;
const DATE: u16 = 1 << 4;
/// A time stamp without a zone.
const LOCAL: u16 = 1 << 5;
/// A time stamp with a zone.
const ZONED: u16 = 1 << 6;
/// A date or time stamp beyond what 64 bits of nanoseconds hold.
const FAR: u16 = 1 << 7;
const TEXT: u16 = 1 << 8;

impl Guess {
    /// Takes a value into account that is not null.
    pub(super) fn observe(&mut self, value: &[u8]) {
        if self.seen & TEXT == 0 {
            let (kind, digits) = classify(value);
            self.seen |= kind;
            self.digits = self.digits.max(digits);
        }
    }

    /// The type that holds all values seen.
    pub(super) fn data_type(self) -> DataType {
        let only = |kinds: u16| self.seen & !kinds == 0;
        match self.seen {
            0 => DataType::Utf8,
            BOOLEAN => DataType::Boolean,
            _ if only(INTEGER | LONG) => DataType::Int64,
            _ if only(INTEGER | FLOAT) => DataType::Float64,
            _ if only(DATE | FAR) => DataType::Date32,
            _ if only(DATE | LOCAL | FAR) => self.timestamp(None),
            _ if only(ZONED | FAR) => self.timestamp(Some("UTC".into())),
            _ => DataType::Utf8,
        }
    }

    fn timestamp(self, zone: Option<Arc<str>>) -> DataType {
        let unit = match self.digits {
            0 => TimeUnit::Second,
            1..=3 => TimeUnit::Millisecond,
            4..=6 => TimeUnit::Microsecond,
            _ if self.seen & FAR != 0 => return DataType::Utf8,
            _ => TimeUnit::Nanosecond,
        };
        DataType::Timestamp(unit, zone)
    }
}

/// Whether a column of numbers could have been learnt from a value, too.
pub(super) fn is_number_of(value: &[u8], data_type: &DataType) -> bool {
    let (kind, _) = classify(value);
    match data_type {
        DataType::Int64 => kind & !(INTEGER | LONG) == 0,
        _ => kind & !(INTEGER | FLOAT) == 0,
    }
}

/// What a value can be, and the digits of its fraction of a second.
fn classify(value: &[u8]) -> (u16, u8) {
    let Ok(text) = str::from_utf8(value) else { return (TEXT, 0) };
    match value {
        [b't' | b'T' | b'f' | b'F', ..] => (boolean(text), 0),
        [b'0'..=b'9', ..] if value.get(4) == Some(&b'-') && value.len() >= 10 => moment(text),
        [b'0'..=b'9' | b'-' | b'.', ..] => (number(text), 0),
        _ => (TEXT, 0),
    }
}

fn boolean(text: &str) -> u16 {
    match text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        true => BOOLEAN,
        false => TEXT,
    }
}

fn number(text: &str) -> u16 {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let bytes = unsigned.as_bytes();
    // A number that is written like this is a code.
    if let [b'0', b'0'..=b'9', ..] = bytes {
        return TEXT;
    }
    if !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit) {
        return match text.parse::<i64>() {
            Ok(number) if number.unsigned_abs() > EXACT => INTEGER | LONG,
            Ok(_) => INTEGER,
            Err(_) => TEXT,
        };
    }
    let finite = || Float64Type::parse(text).is_some_and(f64::is_finite);
    if is_decimal(bytes) && finite() { FLOAT } else { TEXT }
}

/// Whether it is digits with a point, an exponent, or both.
fn is_decimal(bytes: &[u8]) -> bool {
    let (mantissa, exponent) = match memchr::memchr2(b'e', b'E', bytes) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let digits = mantissa.iter().filter(|byte| byte.is_ascii_digit()).count();
    let points = mantissa.iter().filter(|byte| **byte == b'.').count();
    let whole_exponent = exponent.is_none_or(|exponent| {
        let exponent =
            exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)
    });
    digits > 0 && points <= 1 && digits + points == mantissa.len() && whole_exponent
}

/// A date such as `2001-02-03`, or a time stamp such as `2001-02-03T04:05:06.789+01:00`.
fn moment(text: &str) -> (u16, u8) {
    let Ok(moment) = string_to_datetime(&Utc, text) else { return (TEXT, 0) };
    let far = if is_far(moment) { FAR } else { 0 };
    if text.len() == 10 {
        let date = Date32Type::parse(text).is_some();
        return (if date { DATE | far } else { TEXT }, 0);
    }
    let Some((digits, zone)) = split_time(text.as_bytes()) else { return (TEXT, 0) };
    let kind = if zone.is_empty() { LOCAL } else { ZONED };
    (kind | far, digits)
}

fn is_far(moment: DateTime<Utc>) -> bool {
    moment.timestamp_nanos_opt().is_none()
}

/// The digits of the fraction of a second, and the zone that follows.
fn split_time(text: &[u8]) -> Option<(u8, &[u8])> {
    let (b' ' | b'T', time) = (text.get(10)?, text.get(11..)?) else { return None };
    let colons = [2, 5].iter().all(|at| time.get(*at) == Some(&b':'));
    let rest = time.get(8..).filter(|_| colons)?;
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let count = u8::try_from(digits).ok().filter(|count| (1..=9).contains(count))?;
    Some((count, &fraction[digits..]))
}
