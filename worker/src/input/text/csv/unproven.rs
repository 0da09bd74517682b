//! Numbers in columns whose type was learnt from a part of the text: what would have made their column
//! one of text there, had it been seen, must not pass for a number later.
//!
//! Codes with leading zeros are such, signs, and numbers that lose digits. They are searched for in the
//! raw bytes and in what was decoded; records are read once more only where there may be one.

use std::borrow::Cow;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Float64Type},
};
use bytes::Bytes;
use keyloom_common::{Error, Result, input::CsvOptions};
use object_store::path::Path;

use super::{guess::is_number_of, misfit::Wanted, nulls::is_null, records::RecordReader};
use crate::input::text::error::{at_line, remedy, shown};

/// From here on, numbers with a fraction do not tell all integers apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Text whose rows were decoded.
pub(super) struct Decoded<'a> {
    pub(super) text: &'a [Bytes],
    /// How many lines stand before it.
    pub(super) lines: u64,
    /// The rows, in the wanted columns.
    pub(super) batch: &'a RecordBatch,
}

/// Refuses values that are no numbers as they would have been learnt.
pub(super) fn check(
    decoded: &Decoded<'_>,
    path: &Path,
    options: &CsvOptions,
    wanted: &[Wanted],
) -> Result<()> {
    let unproven = wanted.iter().enumerate();
    let unproven: Vec<(usize, &Wanted)> =
        unproven.filter(|(_, column)| options.unproven.contains(&column.name)).collect();
    if unproven.is_empty() {
        return Ok(());
    }
    let text: Cow<'_, [u8]> = match decoded.text {
        [one] => Cow::Borrowed(one),
        several => Cow::Owned(several.concat()),
    };
    let loses_digits = unproven.iter().any(|(at, column)| {
        column.data_type == DataType::Float64 && has_inexact(decoded.batch, *at)
    });
    if !loses_digits && !has_codes(&text, options) {
        return Ok(());
    }
    match find(&text, decoded.lines, path, options, &unproven) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

fn has_inexact(batch: &RecordBatch, column: usize) -> bool {
    let values = batch.column(column).as_primitive_opt::<Float64Type>();
    let exact = |value: f64| value.abs() < EXACT;
    values.is_some_and(|values| !values.iter().flatten().all(exact))
}

/// Whether a value may begin with a zero before another digit, or with a plus.
fn has_codes(text: &[u8], options: &CsvOptions) -> bool {
    let begins = |at: usize| {
        let before = at.checked_sub(1).map(|at| text[at]);
        before.is_none_or(|byte| {
            byte == options.delimiter || byte == options.quote || matches!(byte, b'\n' | b'\r')
        })
    };
    memchr::memchr2_iter(b'0', b'+', text).any(|at| {
        let first = match at.checked_sub(1) {
            Some(sign) if text[sign] == b'-' => sign,
            _ => at,
        };
        text.get(at + 1).is_some_and(u8::is_ascii_digit) && begins(first)
    })
}

/// The first such value.
fn find(
    text: &[u8],
    lines: u64,
    path: &Path,
    options: &CsvOptions,
    unproven: &[(usize, &Wanted)],
) -> Option<Error> {
    let mut records = RecordReader::new(options, lines);
    let mut rest = text;
    loop {
        let ended = rest.is_empty();
        let (used, done) = records.read(rest);
        rest = &rest[used..];
        if done {
            let values: Vec<_> = records.values().collect();
            for (_, Wanted { place, name, data_type }) in unproven {
                let value = values.get(*place).copied().unwrap_or_default();
                if !is_null(options, value) && !is_number_of(value, data_type) {
                    let value = shown(&String::from_utf8_lossy(value)).to_string();
                    let what = format!(
                        "column '{name}': '{value}' would be changed as {data_type}, which was \
                         learnt from a part of the text"
                    );
                    let message = format!("{what}; {}", remedy(name, "text"));
                    return Some(at_line(path, records.line(), message));
                }
            }
        } else if ended {
            return None;
        }
    }
}
