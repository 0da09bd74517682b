//! How many keys may be missing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

/// The most rows that may miss their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxMisses {
    /// So many.
    Count(u64),
    /// So many millionths of those that ask.
    Share(u32),
}

/// All of them, in millionths.
const WHOLE: u32 = 1_000_000;

/// A percent, in millionths.
const PERCENT: u32 = WHOLE / 100;

/// How many decimals a percentage may have.
const DECIMALS: usize = 4;

impl MaxMisses {
    /// Reads a number of rows, or a share of them as a percentage.
    ///
    /// # Errors
    /// `invalid`, naming the choices.
    pub fn parse(text: &str) -> Result<Self> {
        let given = text.trim();
        let read = match given.strip_suffix('%') {
            Some(percent) => millionths(percent.trim_end()).map(Self::Share),
            None => given.parse().ok().map(Self::Count),
        };
        read.ok_or_else(|| {
            Error::invalid(format!(
                "max_misses is a number of rows, as 10, or a share of them from '0%' to '100%' with \
                 {DECIMALS} decimals at most, not '{text}'"
            ))
        })
    }

    /// Whether so many misses of so many rows are too many, if these are all rows.
    pub fn is_exceeded(self, missed: u64, asked: u64) -> bool {
        match self {
            Self::Count(most) => missed > most,
            Self::Share(share) => {
                u128::from(missed) * u128::from(WHOLE) > u128::from(asked) * u128::from(share)
            }
        }
    }

    /// Whether so many misses are too many, however many rows will still ask.
    pub fn is_exceeded_already(self, missed: u64) -> bool {
        match self {
            Self::Count(most) => missed > most,
            Self::Share(share) => share == 0 && missed > 0,
        }
    }
}

/// A percentage without its sign, in millionths.
fn millionths(percent: &str) -> Option<u32> {
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(decimals) || decimals.len() > DECIMALS
    {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let decimals: u32 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
    let share = whole.checked_mul(PERCENT)?.checked_add(decimals)?;
    (share <= WHOLE).then_some(share)
}

impl fmt::Display for MaxMisses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = match self {
            Self::Count(count) => return write!(f, "{count}"),
            Self::Share(share) => share,
        };
        let (whole, decimals) = (share / PERCENT, share % PERCENT);
        match decimals {
            0 => write!(f, "{whole}%"),
            _ => {
                let decimals = format!("{decimals:0>DECIMALS$}");
                write!(f, "{whole}.{}%", decimals.trim_end_matches('0'))
            }
        }
    }
}

/// As it is written.
impl Serialize for MaxMisses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for MaxMisses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What travels between processes does not say what it is.
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(TextOrNumber),
            false => deserializer.deserialize_str(TextOrNumber),
        }
    }
}

struct TextOrNumber;

impl de::Visitor<'_> for TextOrNumber {
    type Value = MaxMisses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of rows, or a share of them as '1%'")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MaxMisses, E> {
        MaxMisses::parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<MaxMisses, E> {
        Ok(MaxMisses::Count(count))
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<MaxMisses, E> {
        MaxMisses::parse(&count.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_percentages_are_read_and_shown_as_they_are_written() {
        for (text, expected) in [
            ("0", MaxMisses::Count(0)),
            ("12", MaxMisses::Count(12)),
            ("0%", MaxMisses::Share(0)),
            ("1%", MaxMisses::Share(10_000)),
            ("0.25%", MaxMisses::Share(2_500)),
            ("0.0001%", MaxMisses::Share(1)),
            ("100%", MaxMisses::Share(1_000_000)),
        ] {
            assert_eq!(MaxMisses::parse(text).unwrap(), expected, "{text}");
            assert_eq!(expected.to_string(), text);
        }
        assert_eq!(MaxMisses::parse(" 1.50 % ").unwrap(), MaxMisses::Share(15_000));
    }

    #[test]
    fn what_is_neither_is_refused_with_the_choices() {
        for text in ["", "%", "-1", "1.5", "100.1%", "0.00001%", "1e2%", "many", "+1%"] {
            let error = MaxMisses::parse(text).unwrap_err();
            let message = format!(
                "max_misses is a number of rows, as 10, or a share of them from '0%' to '100%' \
                 with 4 decimals at most, not '{text}'"
            );
            assert_eq!(error.message(), message);
        }
    }

    #[test]
    fn a_share_is_of_all_rows_and_none_of_them_is_certain_at_once() {
        let one_percent = MaxMisses::Share(10_000);
        assert!(!one_percent.is_exceeded(1, 100) && one_percent.is_exceeded(2, 199));
        assert!(!one_percent.is_exceeded(0, 0) && !one_percent.is_exceeded_already(u64::MAX));
        assert!(MaxMisses::Share(0).is_exceeded_already(1));
        let two = MaxMisses::Count(2);
        assert!(!two.is_exceeded_already(2) && two.is_exceeded_already(3));
        assert!(!two.is_exceeded(2, 2) && two.is_exceeded(3, 1000));
    }

    #[test]
    fn it_survives_files_and_the_wire() {
        for limit in [MaxMisses::Count(7), MaxMisses::Share(2_500)] {
            let sent = crate::rpc::bincode::encode(&limit).unwrap();
            assert_eq!(crate::rpc::bincode::decode::<MaxMisses>(&sent).unwrap(), limit);
            let text = serde_json::to_string(&limit).unwrap();
            assert_eq!(serde_json::from_str::<MaxMisses>(&text).unwrap(), limit);
        }
        assert_eq!(serde_json::from_str::<MaxMisses>("7").unwrap(), MaxMisses::Count(7));
        assert!(serde_json::from_str::<MaxMisses>("-7").is_err());
    }
}
