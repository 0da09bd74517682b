//! What a key means that stands in several rows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Options;
use crate::error::{Error, Result};

/// The option that says so.
const OPTION: &str = "on_duplicate_key";

/// What a lookup of a key returns that several rows hold. `First` and `Last` go by storage order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDuplicateKey {
    /// The job fails, naming the key, if such a key is looked up.
    #[default]
    Error,
    /// The first of the rows.
    First,
    /// The last of the rows.
    Last,
}

impl OnDuplicateKey {
    /// What a store's options say.
    ///
    /// # Errors
    /// `invalid` if that is none of the choices, which the message lists.
    pub(super) fn of(options: &Options) -> Result<Self> {
        match options.text(OPTION) {
            None | Some("error") => Ok(Self::Error),
            Some("first") => Ok(Self::First),
            Some("last") => Ok(Self::Last),
            Some(other) => {
                Err(Error::invalid(format!("{OPTION} is error, first or last, not '{other}'")))
            }
        }
    }

    /// Says so in a store's options, unless it goes without saying.
    pub fn set(self, options: &mut Options) {
        options.set(OPTION, (self != Self::default()).then_some(self));
    }
}

impl fmt::Display for OnDuplicateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::First => "first",
            Self::Last => "last",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_was_said() {
        for policy in [OnDuplicateKey::Error, OnDuplicateKey::First, OnDuplicateKey::Last] {
            let mut options = Options::default();
            policy.set(&mut options);
            assert_eq!(OnDuplicateKey::of(&options), Ok(policy));
        }
        let mut options = Options::default();
        options.set("on_duplicate_key", Some("newest"));
        let refused = "on_duplicate_key is error, first or last, not 'newest'";
        assert_eq!(OnDuplicateKey::of(&options), Err(Error::invalid(refused)));
    }
}
