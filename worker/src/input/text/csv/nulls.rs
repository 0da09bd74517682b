//! Which values mean null.

use keyloom_common::{Error, Result, input::CsvOptions};
use regex::Regex;

/// Whether a value means null: the empty one, or one of the words.
pub(super) fn is_null(options: &CsvOptions, value: &[u8]) -> bool {
    value.is_empty() || options.nulls.iter().any(|word| word.as_bytes() == value)
}

/// The same for Arrow's reader; none if the empty value alone means null, which it knows.
pub(super) fn pattern(options: &CsvOptions) -> Result<Option<Regex>> {
    if options.nulls.is_empty() {
        return Ok(None);
    }
    let words: Vec<_> = options.nulls.iter().map(|word| regex::escape(word)).collect();
    let pattern = format!(r"\A(?:|{})\z", words.join("|"));
    Regex::new(&pattern).map(Some).map_err(|error| Error::invalid(format!("nulls: {error}")))
}
