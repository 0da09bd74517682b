//! Inputs of a job: how a user names files, and what a worker learns by looking at them.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::ipc;

/// File formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Json,
    /// Arrow IPC files.
    Arrow,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Parquet, Self::Csv, Self::Json, Self::Arrow];

    /// Its name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
        }
    }

    /// The endings of file names that stand for it.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Parquet => &["parquet", "pq"],
            Self::Csv => &["csv"],
            Self::Json => &["json", "jsonl", "ndjson"],
            Self::Arrow => &["arrow", "feather", "ipc"],
        }
    }

    /// The format of a file by its name's ending.
    pub fn of_path(path: &str) -> Option<Self> {
        let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
        Self::ALL.into_iter().find(|format| format.extensions().contains(&extension.as_str()))
    }
}

/// Files as a user names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// An absolute path or URL of a file, a folder or a glob.
    pub path: String,
    /// The format; by the names' endings if absent.
    pub format: Option<Format>,
}

/// What a worker learns by looking at an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDescription {
    /// The format of all the files.
    pub format: Format,
    /// The union of the files' columns.
    #[serde(with = "ipc::schema_serde")]
    pub schema: SchemaRef,
    /// The object store that holds the files, as a URL without a path.
    pub object_store: String,
    /// The files in the order of their rows.
    pub files: Vec<InputFile>,
}

/// One file of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its path within the object store.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it last changed, in milliseconds since 1970.
    pub modified_ms: i64,
    /// For Parquet, its row groups in the order of their rows.
    pub row_groups: Vec<RowGroup>,
}

/// One row group of a Parquet file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroup {
    /// Where its first page begins, in bytes.
    pub start: u64,
    /// How many rows it holds.
    pub rows: u64,
}
