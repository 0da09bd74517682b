//! Whether rows are grouped by their keys below the lookups of what they are grouped by: what users
//! say of single statements.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Whether rows are grouped by their keys below the lookups of what they are grouped by. Every way
/// gives the same groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKeys {
    /// Never: all rows come to their lookups.
    Never,
    /// Where groups of a large input are shuffled: a worker reads many rows then, one after the
    /// other, and sends fewer. Other tasks have few rows, whose lookups tell equal keys anyway.
    #[default]
    Auto,
    /// Wherever that gives the same.
    Always,
}

impl GroupKeys {
    const ALL: [Self; 3] = [Self::Never, Self::Auto, Self::Always];

    fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Auto => "auto",
            Self::Always => "always",
        }
    }

    /// Reads one of the words.
    ///
    /// # Errors
    /// `invalid`, naming them all.
    pub fn parse(word: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|choice| choice.name() == word);
        known.ok_or_else(|| {
            Error::invalid(format!("group_keys is never, auto or always, not '{word}'"))
        })
    }
}

impl fmt::Display for GroupKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        for choice in GroupKeys::ALL {
            assert_eq!(GroupKeys::parse(&choice.to_string()), Ok(choice));
            let word = serde_json::to_value(choice).unwrap();
            assert_eq!(word, choice.name(), "files and programs say the same");
        }
        let error = GroupKeys::parse("once").unwrap_err();
        assert_eq!(error.message(), "group_keys is never, auto or always, not 'once'");
    }
}
