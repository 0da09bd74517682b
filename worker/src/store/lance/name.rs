//! The names by which a worker knows what it keeps of datasets, whichever room reads or keeps it.

use std::sync::Arc;

use keyloom_common::BlobId;

/// A dataset, and the ids and names of one of its columns.
pub(super) type ColumnName = (Arc<str>, Arc<str>);

/// A column of a file, whose contents never change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileColumn {
    pub(super) dataset: Arc<str>,
    /// The data file, or the fragment and the manifest if the column is in no one file.
    pub(super) file: Arc<str>,
    /// The ids and names of its fields, those within structs among them: a later version may give
    /// the same file's fields other names, or put others under the same names.
    pub(super) column: Arc<str>,
}

/// A set of keys, looked for in a column or some columns of an open dataset. Its policy says which
/// rows of each are needed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LearnedName {
    pub(super) set: BlobId,
    pub(super) handle: u64,
    pub(super) columns: Vec<String>,
}
