//! Sizes and times with units: what settings and options count in bytes or milliseconds may be
//! written as `"2GiB"` or `"30s"`.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, Unexpected, Visitor},
};

/// The units of sizes. Those of a thousand are what disks are sold by.
const SIZES: [(&str, u64); 9] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Reads an option of this name, which counts bytes or milliseconds: a number, or text with a unit.
///
/// # Errors
/// If it is neither. The option is named.
pub fn read<'de, D: Deserializer<'de>>(
    name: &'static str,
    value: D,
) -> Result<Option<u64>, D::Error> {
    value.deserialize_any(Amount(name))
}

/// The value of the option of this name.
struct Amount(&'static str);

impl<'de> Visitor<'de> for Amount {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as a whole number, or as text with a unit", self.0)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let negative = || E::invalid_value(Unexpected::Signed(number), &self);
        u64::try_from(number).map(Some).map_err(|_| negative())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match number(self.0, text) {
            Some(number) => number.map(Some).map_err(|why| E::custom(format!("{}: {why}", self.0))),
            None => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

/// The number that a text means as a setting or an option of this name, if that counts bytes or
/// milliseconds.
///
/// # Errors
/// In words, if the text is no size or no time.
pub fn number(name: &str, text: &str) -> Option<Result<u64, String>> {
    if name.ends_with("_ms") {
        Some(milliseconds(text))
    } else if name.ends_with("bytes") {
        Some(bytes(text))
    } else {
        None
    }
}

/// Reads a time.
fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = |why: String| format!("'{text}' is no time, as \"30s\" or \"500ms\": {why}");
    let time = humantime::parse_duration(text).map_err(|error| wrong(error.to_string()))?;
    if time.subsec_nanos() % 1_000_000 != 0 {
        return Err(wrong("it is counted in whole milliseconds".to_owned()));
    }
    u64::try_from(time.as_millis()).map_err(|_| wrong("it is too long".to_owned()))
}

/// Reads a size.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = |why: &str| format!("'{text}' is no size, as \"2GiB\" or \"512MiB\": {why}");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let known = SIZES.iter().find(|(name, _)| *name == unit);
    let (_, unit) =
        known.ok_or_else(|| wrong("units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB"))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let size = parse(whole).and_then(|whole| whole.checked_mul(u128::from(*unit)));
    let part = match part {
        "" => Some(0),
        part => parse(part).zip(10_u128.checked_pow(digits(part))).and_then(|(part, tenths)| {
            let product = part.checked_mul(u128::from(*unit))?;
            product.is_multiple_of(tenths).then_some(product / tenths)
        }),
    };
    let size = size.zip(part).and_then(|(size, part)| u64::try_from(size.checked_add(part)?).ok());
    size.ok_or_else(|| wrong("it is no whole number of bytes"))
}

fn parse(digits: &str) -> Option<u128> {
    digits.parse().ok()
}

fn digits(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn sizes_are_counted_in_bytes() {
        for (text, expected) in [
            ("2GiB", 2 << 30),
            ("512 mib", 512 << 20),
            ("1.5KiB", 1536),
            ("64KB", 64_000),
            ("0B", 0),
            ("16TiB", 16 << 40),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn times_are_counted_in_milliseconds() {
        for (text, expected) in
            [("30s", 30_000), ("500ms", 500), ("2min", 120_000), ("1h 5m", 3_900_000), ("0s", 0)]
        {
            assert_eq!(milliseconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_or_time_is_told_with_an_example() {
        for text in ["", "2", "GiB", "2GB/s", "-1B", "1.3B", "99999999999TiB", "1.2.3KiB"] {
            let message = bytes(text).unwrap_err();
            assert!(message.starts_with(&format!("'{text}' is no size, as \"2GiB\"")), "{message}");
        }
        for text in ["", "30", "soon", "1us", "-1s"] {
            let message = milliseconds(text).unwrap_err();
            assert!(message.starts_with(&format!("'{text}' is no time, as \"30s\"")), "{message}");
        }
    }

    #[test]
    fn options_are_numbers_or_have_units() {
        #[derive(Debug, PartialEq, Eq, Deserialize)]
        struct Options {
            #[serde(default, deserialize_with = "wait_ms")]
            wait_ms: Option<u64>,
        }
        fn wait_ms<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
            read("wait_ms", value)
        }
        let read = |text: &str| {
            let options = serde_json::from_str::<Options>(text);
            options.map(|options| options.wait_ms).map_err(|error| error.to_string())
        };
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"wait_ms": null}"#), Ok(None));
        assert_eq!(read(r#"{"wait_ms": 250}"#), Ok(Some(250)));
        assert_eq!(read(r#"{"wait_ms": "30s"}"#), Ok(Some(30_000)));
        for (wrong, words) in [
            (r#""soon""#, "wait_ms: 'soon' is no time, as \"30s\" or \"500ms\": "),
            ("-1", "wait_ms as a whole number, or as text with a unit"),
            ("1.5", "wait_ms as a whole number, or as text with a unit"),
        ] {
            let message = read(&format!(r#"{{"wait_ms": {wrong}}}"#)).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
