//! Numbers in columns whose type was learnt from a part of the text: what would have made their
//! column one of text there, had it been seen, must not pass for a number later.
//!
//! Codes with leading zeros are such, signs, and numbers that lose digits. They are searched for in
//! the raw bytes and in what was decoded; records are read once more only where there may be one.

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

/// Whether a value may begin with a zero before another digit, or with a plus before one.
fn has_codes(text: &[u8], options: &CsvOptions) -> bool {
    // What stands before the text ends a record, and nothing goes on behind it.
    let first = [b"\n", &text[..text.len().min(3)], &[0; 3]].concat();
    let last = [&text[text.len().saturating_sub(3)..], &[0; 3]].concat();
    [&first, text, &last].into_iter().any(|text| has_codes_within(text, options))
}

/// The same of values that neither begin nor end the text. No branches: it looks at many bytes at
/// once.
fn has_codes_within(text: &[u8], options: &CsvOptions) -> bool {
    let Some(places) = text.len().checked_sub(3) else { return false };
    let [before, first, second, third] = [0, 1, 2, 3].map(|at| &text[at..at + places]);
    let (delimiter, quote) = (options.delimiter, options.quote);
    let begins =
        |byte: u8| (byte == delimiter) | (byte == quote) | (byte == b'\n') | (byte == b'\r');
    let leads = |byte: u8| (byte == b'0') | (byte == b'+');
    let is_digit = |byte: u8| byte.wrapping_sub(b'0') < 10;
    let mut found = false;
    for place in 0..places {
        let (first, second, third) = (first[place], second[place], third[place]);
        let unsigned = leads(first) & is_digit(second);
        let signed = (first == b'-') & leads(second) & is_digit(third);
        found |= begins(before[place]) & (unsigned | signed);
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_wherever_they_stand() {
        let options = CsvOptions::default();
        let codes = ["01", "-01", "+1", "-+1", "a,01", "a\n-00,b", "1,\"007\"", "a\r+5,1", "a,00"];
        let none = [
            "",
            "0",
            "-0",
            "1,0",
            "0,1",
            "0.5,-0.5",
            "10,100,-10",
            "a01",
            "a,b\n1",
            "2001-01-01 00:00",
            "+",
            "+a",
            "1e+05",
            "-",
            ",0",
        ];
        for (texts, expected) in [(&codes[..], true), (&none[..], false)] {
            for text in texts {
                assert_eq!(has_codes(text.as_bytes(), &options), expected, "{text}");
                let long = format!("{}\n{text}", "17,text\n".repeat(100));
                assert_eq!(has_codes(long.as_bytes(), &options), expected, "…{text}");
                let long = format!("{text}\n{}", "17,text\n".repeat(100));
                assert_eq!(has_codes(long.as_bytes(), &options), expected, "{text}…");
            }
        }
    }
}
