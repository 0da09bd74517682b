//! Whether workers shuffle rows among themselves: what users say of it, in settings and of single
//! statements.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use crate::{
    bounds::{Bounds, ROWS},
    error::{Error, Result},
};

/// Into one part, nothing is shuffled; and each worker has a queue for each part of all others.
const PARTITIONS: RangeInclusive<u64> = 2..=256;

/// Whether workers shuffle rows among themselves. Every way gives the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shuffle {
    /// They do for large inputs.
    Auto,
    /// They do not: what takes rows of several tasks is the coordinator's.
    #[default]
    Never,
    /// They do wherever that is possible.
    Always,
}

impl Shuffle {
    /// Reads the option.
    ///
    /// # Errors
    /// `invalid` if it is none of the choices, which the message lists.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "auto" => Ok(Self::Auto),
            "never" => Ok(Self::Never),
            "always" => Ok(Self::Always),
            other => {
                Err(Error::invalid(format!("shuffle is never, auto or always, not '{other}'")))
            }
        }
    }
}

impl fmt::Display for Shuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Never => "never",
            Self::Always => "always",
        })
    }
}

/// When a statement's rows are shuffled, and how finely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleOptions {
    /// Whether they are.
    pub shuffle: Shuffle,
    /// How many rows the largest input has at least where [`Shuffle::Auto`] shuffles.
    pub min_rows: u64,
    /// Into how many parts each worker's rows are shuffled.
    pub partitions: usize,
}

impl Default for ShuffleOptions {
    fn default() -> Self {
        Self { shuffle: Shuffle::Never, min_rows: 5_000_000, partitions: 4 }
    }
}

impl ShuffleOptions {
    /// Checks the bounds.
    pub fn check(&self, bounds: &mut Bounds) {
        bounds.within("shuffle_min_rows", self.min_rows, ROWS);
        bounds.within("shuffle_partitions", self.partitions, PARTITIONS);
    }
}

/// What is said of one statement; its session says the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShuffleChoice {
    /// [`ShuffleOptions::shuffle`].
    pub shuffle: Option<Shuffle>,
    /// [`ShuffleOptions::min_rows`].
    pub min_rows: Option<u64>,
    /// [`ShuffleOptions::partitions`].
    pub partitions: Option<usize>,
}

impl ShuffleChoice {
    /// The options of a session, with what is said here in their places.
    ///
    /// # Errors
    /// `invalid`, naming all that are out of bounds.
    pub fn over(self, session: ShuffleOptions) -> Result<ShuffleOptions> {
        let Self { shuffle, min_rows, partitions } = self;
        let options = ShuffleOptions {
            shuffle: shuffle.unwrap_or(session.shuffle),
            min_rows: min_rows.unwrap_or(session.min_rows),
            partitions: partitions.unwrap_or(session.partitions),
        };
        Bounds::check(|bounds| options.check(bounds))?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_read_as_it_is_written() {
        for way in [Shuffle::Auto, Shuffle::Never, Shuffle::Always] {
            assert_eq!(Shuffle::parse(&way.to_string()), Ok(way));
        }
        let error = Shuffle::parse("sometimes").unwrap_err();
        assert_eq!(error.message(), "shuffle is never, auto or always, not 'sometimes'");
    }

    #[test]
    fn what_is_said_of_a_statement_stands_in_the_place_of_the_sessions() {
        let session = ShuffleOptions { min_rows: 7, ..ShuffleOptions::default() };
        assert_eq!(ShuffleChoice::default().over(session), Ok(session));
        let always = Some(Shuffle::Always);
        let choice = ShuffleChoice { shuffle: always, partitions: Some(3), min_rows: None };
        let expected = ShuffleOptions { shuffle: Shuffle::Always, min_rows: 7, partitions: 3 };
        assert_eq!(choice.over(session), Ok(expected));
        let wrong = ShuffleChoice { partitions: Some(1), ..choice }.over(session).unwrap_err();
        let expected = "setting shuffle_partitions must be between 2 and 256, not 1";
        assert_eq!(wrong.message(), expected);
    }
}
