//! Files as a user names them.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::{CsvOptions, Format};
use crate::{ipc, store::Pin};

/// Files as a user names them, and what the user says of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// An absolute path or URL of a file, a folder or a glob.
    pub path: String,
    /// The format; by the names' endings if absent.
    pub format: Option<Format>,
    /// The types of some columns, or of all.
    #[serde(with = "ipc::schema_serde")]
    pub columns: SchemaRef,
    /// How CSV files are read. The delimiter of files whose names end in `.tsv` is a tab, unless
    /// the user says otherwise.
    pub csv: CsvOptions,
    /// The names of the options that the user gave. Those that the format does not take are refused
    /// once it is known.
    pub given: Vec<String>,
    /// How many bytes of text, of all files in their order, columns and their types are learnt
    /// from.
    pub infer_bytes: u64,
    /// The name of a profile in the workers' settings that holds storage options.
    pub storage_profile: Option<String>,
    /// Whether folders that are called `name=value` are columns.
    pub hive_partitioning: bool,
    /// The version of a Lance dataset; the newest if absent.
    pub pin: Option<Pin>,
    /// About how many bytes a piece of a file has that can be read by itself.
    pub piece_bytes: u64,
}

/// How JSON text is laid out. Whether a file is an array is told by its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JsonLayout {
    /// Whether all fields of all files were seen when the columns were learnt. Otherwise each row
    /// is checked for fields that are no columns.
    pub complete: bool,
}

/// Where files are: an object store, and the profile with which it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The object store as a URL without a path, such as `s3://bucket/` or `file:///`.
    pub url: String,
    /// The name of a profile in the workers' settings.
    pub profile: Option<String>,
}

impl Location {
    /// A file as users name it: by its path, or by its URL.
    pub fn shown(&self, path: &str) -> String {
        match self.url.starts_with("file:") {
            true => format!("/{path}"),
            false => format!("{}/{path}", self.url.trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shown_as_users_name_them() {
        let shown =
            |url: &str, path: &str| Location { url: url.to_owned(), profile: None }.shown(path);
        assert_eq!(shown("file:///", "tmp/a b.csv"), "/tmp/a b.csv");
        assert_eq!(shown("s3://bucket/", "a/b.csv"), "s3://bucket/a/b.csv");
    }
}
