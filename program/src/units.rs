//! Sizes and times with units: what settings count in bytes or milliseconds may be written as
//! `"2GiB"` or `"30s"`, wherever it stands.

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Num, Value},
};

/// Where values are text, whatever they are called: what is in there is for others.
const PROFILES: &str = "storage_profiles";

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

/// A layer of settings whose sizes and times are numbers afterwards.
#[derive(Debug)]
pub(crate) struct Units<P>(pub(crate) P);

impl<P: Provider> Provider for Units<P> {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut data = self.0.data()?;
        let counted = data.values_mut().try_for_each(|settings| count(settings, ""));
        counted.map_err(|Wrong { path, message }| Error::from(message).with_path(&path))?;
        Ok(data)
    }

    fn profile(&self) -> Option<Profile> {
        self.0.profile()
    }
}

/// A size or a time that is none.
#[derive(Debug)]
struct Wrong {
    path: String,
    message: String,
}

/// Replaces sizes and times of a section by what the settings count.
fn count(section: &mut Dict, within: &str) -> Result<(), Wrong> {
    for (name, value) in section {
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        match value {
            Value::Dict(..) if name == PROFILES => {}
            Value::Dict(_, inner) => count(inner, &path)?,
            Value::String(tag, text) => {
                if let Some(number) = number(name, text) {
                    let number = number.map_err(|message| Wrong { path, message })?;
                    *value = Value::Num(*tag, Num::U64(number));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The number that a text means as a setting of this name, if it counts bytes or milliseconds.
fn number(name: &str, text: &str) -> Option<Result<u64, String>> {
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
}
