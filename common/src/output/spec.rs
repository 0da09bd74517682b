//! Outputs as users name them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{error::redact, store::KeyColumns};

/// Where the rows of a job go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// An absolute path or URL: of a folder, or of a Lance dataset.
    pub path: String,
    /// The name of a profile in the workers' settings that holds storage options.
    pub storage_profile: Option<String>,
    /// What is written.
    pub kind: OutputKind,
}

/// What is written, and what becomes of what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputKind {
    /// Files in a folder.
    Files(FilesOutput),
    /// A Lance dataset.
    Lance {
        /// What becomes of the dataset that is there.
        if_exists: IfExists,
        /// About the most bytes of a data file.
        target_file_bytes: u64,
    },
    /// Rows of a Lance dataset that is there: those whose keys stand in it are replaced, others are
    /// added.
    Upsert {
        /// The columns that tell rows apart.
        key: KeyColumns,
    },
    /// New columns of a Lance dataset, in place: the rows of the job are those of the dataset, all
    /// of them, in its order. Columns that it has already must not be among them.
    Columns,
}

/// Files in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesOutput {
    /// The format of each.
    pub format: FileFormat,
    /// What becomes of the files that are there.
    pub if_exists: IfExists,
    /// Columns whose values stand in the names of folders (`day=2024-01-01`) instead of in files.
    pub partition_by: Vec<String>,
    /// About the most bytes of a file: the next one is begun behind it.
    pub target_file_bytes: u64,
    /// How they are compressed; as is usual for the format if absent.
    pub compression: Option<Compression>,
}

/// What becomes of what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IfExists {
    /// The job is refused.
    #[default]
    Error,
    /// It is replaced when the job commits.
    Overwrite,
    /// It stays, and the rows come to it.
    Append,
}

/// Formats of files that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Parquet.
    Parquet,
    /// Arrow IPC files.
    Arrow,
    /// Comma-separated values, with a header.
    Csv,
    /// One JSON object a line.
    Json,
}

/// How files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy, for Parquet.
    Snappy,
    /// LZ4, for Parquet and Arrow.
    Lz4,
    /// Zstandard.
    Zstd,
    /// Gzip, for Parquet, CSV and JSON.
    Gzip,
}

impl OutputSpec {
    /// Whether it is a Lance dataset.
    pub fn is_lance(&self) -> bool {
        !matches!(self.kind, OutputKind::Files(_))
    }
}

impl FileFormat {
    /// Its name, as users write it, and how names of files end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// How it may be compressed; the first is usual.
    pub fn compressions(self) -> &'static [Compression] {
        use Compression::{Gzip, Lz4, None, Snappy, Zstd};
        match self {
            Self::Parquet => &[Snappy, None, Lz4, Zstd, Gzip],
            Self::Arrow => &[None, Lz4, Zstd],
            Self::Csv | Self::Json => &[None, Gzip, Zstd],
        }
    }
}

impl Compression {
    /// Its name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

impl IfExists {
    /// Its name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Overwrite => "overwrite",
            Self::Append => "append",
        }
    }
}

/// As plans show it: `parquet files in /out/, if it exists: error`.
impl fmt::Display for OutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, kind) = (redact(&self.path), &self.kind);
        match kind {
            OutputKind::Files(files) => {
                let (format, if_exists) = (files.format.name(), files.if_exists.name());
                write!(f, "{format} files in {path}, if_exists={if_exists}")?;
                match files.partition_by.as_slice() {
                    [] => Ok(()),
                    columns => write!(f, ", partition_by=[{}]", columns.join(", ")),
                }
            }
            OutputKind::Lance { if_exists, .. } => {
                write!(f, "lance dataset {path}, if_exists={}", if_exists.name())
            }
            OutputKind::Upsert { key } => write!(f, "rows of lance dataset {path} by {key}"),
            OutputKind::Columns => write!(f, "columns of lance dataset {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_show_no_secret_of_a_path() {
        let kind = OutputKind::Columns;
        let path = "s3://me:secret@bucket/a.lance".to_owned();
        let spec = OutputSpec { path, storage_profile: None, kind };
        assert_eq!(spec.to_string(), "columns of lance dataset s3://bucket/a.lance");
    }
}
