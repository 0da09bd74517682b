//! What users type of a job's rows, and of what is told of it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use keyloom_client::MaxMisses;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowForm {
    /// A table for people
    Table,
    /// A JSON object a line
    Json,
    /// CSV with a header line
    Csv,
}

/// How it is told what a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Summary {
    /// A line for people, on stderr
    Text,
    /// A JSON object: on stderr, or on stdout if no rows are printed there
    Json,
    /// Not at all
    None,
}

/// Where rows go, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowRows {
    /// Write the rows to a file: .parquet, .arrow, .csv or .json; or have the workers write them,
    /// to FOLDER/ or NAME.lance, with the options of [output]: 'out/?format=csv&if_exists=append'
    #[arg(short, long, value_name = "FILE|FOLDER/?…")]
    pub(crate) output: Option<PathBuf>,
    /// Keep the Arrow types in a .parquet file, which then not every reader knows: fixed-size
    /// lists, half floats, dictionaries, views, seconds, decimals and intervals as they are
    #[arg(long)]
    pub(crate) arrow_types: bool,
    /// Print the rows in this form [default: table]; -o json and -o csv say the same
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<RowForm>,
    /// Print all rows of a table in full, not the first 40
    #[arg(long)]
    pub(crate) all: bool,
}

impl ShowRows {
    /// Whether anything is said of it.
    pub(crate) fn is_given(&self) -> bool {
        self.output.is_some() || self.format.is_some() || self.all || self.arrow_types
    }
}

/// What becomes of a job's rows, and what is told of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) rows: ShowRows,
    /// Fail the job if more rows of a store miss their keys where that gives null: a number, or a
    /// share as 1%
    #[arg(long, value_name = "N|N%", value_parser = MaxMisses::parse)]
    pub(crate) max_misses: Option<MaxMisses>,
    /// Write the rows that miss their keys to a file: their store, key and number
    #[arg(long, value_name = "FILE")]
    pub(crate) misses: Option<PathBuf>,
    /// What is told about the job [default: text]; --summary alone is --summary=json
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_value = "text",
        default_missing_value = "json",
        hide_default_value = true,
        value_name = "FORM"
    )]
    pub(crate) summary: Summary,
    /// Write what the job did, or why it failed, to a file as a JSON object, too; - is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) summary_file: Option<PathBuf>,
}
