//! Formats in which rows are lines of text, for files and for stdout.

use datafusion::arrow::{array::RecordBatch, datatypes::Schema};

use super::{
    csv, json,
    types::{self, Rule},
};
use crate::error::Failure;

/// A format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Comma-separated values below a header line.
    Csv,
    /// A JSON object a line.
    Json,
}

impl Lines {
    /// The columns that it can hold.
    pub(crate) fn rule(self) -> Rule {
        match self {
            Self::Csv => types::csv,
            Self::Json => json::rule,
        }
    }

    /// What stands above the rows, even if there are none.
    pub(crate) fn head(self, schema: &Schema) -> Vec<u8> {
        match self {
            Self::Csv => csv::head(schema),
            Self::Json => Vec::new(),
        }
    }

    /// Appends rows.
    pub(crate) fn rows(self, batch: &RecordBatch, text: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Self::Csv => csv::rows(batch, text),
            Self::Json => json::rows(batch, text),
        }
    }
}
