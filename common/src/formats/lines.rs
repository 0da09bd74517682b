//! Formats in which rows are lines of text, in files or elsewhere.

use arrow::{array::RecordBatch, datatypes::Schema};

use super::{Refused, Rule, csv, json, types};

/// A format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Comma-separated values below a header line.
    Csv,
    /// A JSON object a line.
    Json,
}

impl Lines {
    /// The columns that it can hold.
    pub fn rule(self) -> Rule {
        match self {
            Self::Csv => types::csv,
            Self::Json => json::rule,
        }
    }

    /// What stands above the rows, even if there are none.
    pub fn head(self, schema: &Schema) -> Vec<u8> {
        match self {
            Self::Csv => csv::head(schema),
            Self::Json => Vec::new(),
        }
    }

    /// Appends rows.
    ///
    /// # Errors
    /// If the format cannot hold a value.
    pub fn rows(self, batch: &RecordBatch, text: &mut Vec<u8>) -> Result<(), Refused> {
        match self {
            Self::Csv => csv::rows(batch, text),
            Self::Json => json::rows(batch, text),
        }
    }
}
