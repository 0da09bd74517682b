//! How a join with a store is made: by looking its keys up, or by scanning the store.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The way of joins with stores. Every way gives the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinPath {
    /// The planner chooses, by the rows that are expected and those of the store.
    #[default]
    Auto,
    /// Keys are looked up wherever a join is on the store's key.
    Lookup,
    /// The store is scanned as a table.
    Scan,
}

impl JoinPath {
    /// Reads the option.
    ///
    /// # Errors
    /// `invalid` if it is none of the choices, which the message lists.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "auto" => Ok(Self::Auto),
            "lookup" => Ok(Self::Lookup),
            "scan" => Ok(Self::Scan),
            other => {
                Err(Error::invalid(format!("join_path is auto, lookup or scan, not '{other}'")))
            }
        }
    }
}

impl fmt::Display for JoinPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Lookup => "lookup",
            Self::Scan => "scan",
        })
    }
}
