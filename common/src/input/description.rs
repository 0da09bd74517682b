//! What a worker learns by looking at an input.

use std::fmt;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::{Layout, Location};
use crate::ipc;

/// Stands for the paths, sizes and e-tags or times of all the files of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

/// What a fragment of a Lance dataset is known by: its files, and what is deleted of it. In all
/// versions in which its rows are the same, and nothing was added to them, it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FragmentMark(pub [u8; 16]);

impl fmt::Display for FragmentMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What became of a look at an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputInspection {
    /// The files are those of the fingerprint that was given.
    Unchanged,
    /// What there is now.
    Described(Box<InputDescription>),
}

/// What a worker learns by looking at an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDescription {
    /// How all the files are read.
    pub layout: Layout,
    /// The columns of the files: their union, each of the widest type. For CSV they stand in the
    /// order of the file's values.
    #[serde(with = "ipc::schema_serde")]
    pub file_schema: SchemaRef,
    /// The columns that the names of folders give; they follow those of the files.
    #[serde(with = "ipc::schema_serde")]
    pub partition_schema: SchemaRef,
    /// The object store that holds the files.
    pub location: Location,
    /// The files in the order of their rows.
    pub files: Vec<InputFile>,
    /// What the fragments of a Lance dataset are known by, one for each piece of its one file.
    pub fragments: Vec<FragmentMark>,
    /// What the files were known by.
    pub fingerprint: Fingerprint,
}

/// One file of an input, as it was when the input was described.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputFile {
    /// Its path within the object store.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// What its object store knows this content by, if it says so.
    pub e_tag: Option<String>,
    /// When it last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The text of each partition column; none for null.
    pub partition_values: Vec<Option<String>>,
    /// The parts that can be read by themselves, in the order of their rows; at least one if the
    /// file holds anything. The first starts at 0, each ends where the next starts.
    pub pieces: Vec<Piece>,
}

/// A part of a file that can be read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Piece {
    /// Where it starts, in bytes. For Parquet, where the first page of its row group stands; for
    /// CSV, the start of a row; for lines of JSON, any byte: the first whole line after it is
    /// meant.
    pub start: u64,
    /// How many rows it holds, if that is known.
    pub rows: Option<u64>,
    /// For CSV, how many lines stand before it.
    pub lines_before: u64,
}
