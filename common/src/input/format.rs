//! File formats, and what each needs to be read.

use serde::{Deserialize, Serialize};

use super::JsonLayout;
use crate::store::Snapshot;

/// File formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet.
    Parquet,
    /// Values separated by commas, tabs or another character.
    Csv,
    /// JSON: one object a line, or one array of objects.
    Json,
    /// Arrow IPC: files and streams, Feather among them.
    Arrow,
    /// Lance datasets.
    Lance,
}

/// Endings of names of compressed text, behind the ending of the format.
const COMPRESSED: [&str; 5] = ["gz", "gzip", "bz2", "xz", "zst"];

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Parquet, Self::Csv, Self::Json, Self::Arrow, Self::Lance];

    /// Its name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
            Self::Lance => "lance",
        }
    }

    /// The options that it takes, beside those that every format takes.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Parquet | Self::Arrow => &["columns", "hive_partitioning"],
            Self::Csv => &[
                "columns",
                "delimiter",
                "quote",
                "escape",
                "comment",
                "header",
                "nulls",
                "infer_bytes",
                "hive_partitioning",
            ],
            Self::Json => &["columns", "infer_bytes", "hive_partitioning"],
            Self::Lance => &["version", "tag"],
        }
    }

    /// The endings of file names that stand for it.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Parquet => &["parquet", "pq"],
            Self::Csv => &["csv", "tsv", "tab"],
            Self::Json => &["json", "jsonl", "ndjson"],
            Self::Arrow => &["arrow", "arrows", "feather", "ipc"],
            Self::Lance => &["lance"],
        }
    }

    /// The format of a file by its name's ending; that of a compression is passed over.
    pub fn of_path(path: &str) -> Option<Self> {
        let (rest, extension) = split_extension(path)?;
        let extension = match COMPRESSED.contains(&extension.as_str()) {
            true => split_extension(rest)?.1,
            false => extension,
        };
        Self::ALL.into_iter().find(|format| format.extensions().contains(&extension.as_str()))
    }
}

/// Whether a name says that the file is compressed.
pub fn is_compressed(path: &str) -> bool {
    split_extension(path).is_some_and(|(_, extension)| COMPRESSED.contains(&extension.as_str()))
}

/// Whether a name says that values are separated by tabs.
pub fn is_tab_separated(path: &str) -> bool {
    let Some((rest, extension)) = split_extension(path) else { return false };
    let extension = match COMPRESSED.contains(&extension.as_str()) {
        true => split_extension(rest).map_or(extension, |(_, inner)| inner),
        false => extension,
    };
    matches!(extension.as_str(), "tsv" | "tab")
}

fn split_extension(path: &str) -> Option<(&str, String)> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    let (_, extension) = name.rsplit_once('.')?;
    let rest = path.trim_end_matches('/');
    Some((&rest[..rest.len() - extension.len() - 1], extension.to_ascii_lowercase()))
}

/// How the text of a CSV file makes rows and values. All characters are single bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CsvOptions {
    /// Between values.
    pub delimiter: u8,
    /// Around values that hold delimiters, quotes or line breaks.
    pub quote: u8,
    /// Before a quote within quotes; if absent, quotes are doubled.
    pub escape: Option<u8>,
    /// At the start of lines that are passed over.
    pub comment: Option<u8>,
    /// Whether the first line of each file names the columns.
    pub header: bool,
    /// Values that mean null, beside the empty one.
    pub nulls: Vec<String>,
    /// The columns of numbers whose type was learnt from a part of the text: each value is looked
    /// at whether it is a number indeed.
    pub unproven: Vec<String>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: b'"',
            escape: None,
            comment: None,
            header: true,
            nulls: Vec::new(),
            unproven: Vec::new(),
        }
    }
}

/// A format with all that its files need to be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Layout {
    /// Parquet.
    Parquet,
    /// CSV.
    Csv(CsvOptions),
    /// JSON.
    Json(JsonLayout),
    /// Arrow IPC.
    Arrow,
    /// A Lance dataset, at this snapshot. Its location is its URI, its bytes are its fragments, by
    /// their places.
    Lance(Snapshot),
}

impl Layout {
    /// The format alone.
    pub fn format(&self) -> Format {
        match self {
            Self::Parquet => Format::Parquet,
            Self::Csv(_) => Format::Csv,
            Self::Json(_) => Format::Json,
            Self::Arrow => Format::Arrow,
            Self::Lance(_) => Format::Lance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_formats_through_compression() {
        let check = |path, format| assert_eq!(Format::of_path(path), format, "{path}");
        check("a.parquet", Some(Format::Parquet));
        check("s3://bucket/a.b/c.TSV.gz", Some(Format::Csv));
        check("a.jsonl.zst", Some(Format::Json));
        check("a.feather", Some(Format::Arrow));
        check("cities.lance/", Some(Format::Lance));
        check("a.gz", None);
        check("folder.csv/file", None);
        check("noending", None);
        assert!(is_tab_separated("x/a.tsv.gz") && is_tab_separated("a.tab"));
        assert!(!is_tab_separated("a.csv") && !is_tab_separated("tsv"));
    }
}
