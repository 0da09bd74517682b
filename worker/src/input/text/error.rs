//! What is said of files that cannot be read, or not as they were described.

use std::{fmt::Display, io};

use datafusion::error::DataFusionError;
use keyloom_common::{Error, Result};
use object_store::path::Path;

/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// The error of an object store, with the file's name.
pub(super) fn unreadable(path: &Path, error: object_store::Error) -> Error {
    let error = DataFusionError::ObjectStore(Box::new(error));
    Error::from_datafusion(error).context(format!("file '{path}'"))
}

/// What a decoder of compressed text failed with: reading, or the text itself.
pub(super) fn undecodable(path: &Path, compression: &str, error: io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| {
        Error::invalid(format!("file '{path}' is not whole {compression}: {error}"))
    })
}

/// A mistake in a line of a file. Lines are counted from 1.
pub(super) fn at_line(path: &Path, line: u64, what: impl Display) -> Error {
    Error::invalid(format!("file '{path}', line {line}: {what}"))
}

/// A path as an object store gave it.
pub(super) fn parse_path(path: &str) -> Result<Path> {
    Path::parse(path).map_err(|error| Error::invalid(format!("file '{path}': {error}")))
}

/// A value as messages show it: its beginning, if it is long.
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// The option that helps when a column's type was guessed wrong.
pub(super) fn remedy(column: &str, data_type: &str) -> String {
    format!(
        "say columns = {{ {} = \"{data_type}\" }}, or look at more of the files with infer_bytes",
        toml_key(column)
    )
}

/// A name as the key of a TOML table.
pub(super) fn toml_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(bare) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}
