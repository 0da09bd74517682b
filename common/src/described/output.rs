//! Outputs as users describe them: a path, and what is written there.

use serde::{Deserialize, Deserializer};

use super::{KeyNames, absolute};
use crate::{
    error::{Error, Result, redact},
    input::Format,
    output::{Compression, FileFormat, FilesOutput, IfExists, OutputKind, OutputSpec},
    store::KeyColumns,
    units,
};

/// About the most bytes of a file, unless `target_file_bytes` says otherwise.
const TARGET_FILE_BYTES: u64 = 256 << 20;

/// An output: a folder or a dataset, and how it is written. The names of the options are the same
/// in job files and in programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// A path, or a URL that the workers can open (`file://`, `s3://`, `gs://`, `az://`): of a
    /// folder, or of a Lance dataset.
    #[serde(alias = "uri")]
    pub path: String,
    /// The format. Default Lance for names that end in `.lance`, else Parquet.
    #[serde(default)]
    pub format: Option<OutputFormat>,
    /// What becomes of what is there. Default `error`.
    #[serde(default)]
    pub if_exists: Mode,
    /// Lance, with `if_exists = "upsert"`: the columns that tell rows apart.
    #[serde(default)]
    pub key: Option<KeyNames>,
    /// Files: columns whose values stand in the names of folders. Default none.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// About the most bytes of a file. Default 256 MiB.
    #[serde(default, deserialize_with = "target_file_bytes")]
    pub target_file_bytes: Option<u64>,
    /// Files: how they are compressed. Default snappy for Parquet, else none.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// The name of a profile in the workers' settings with options for the object store.
    #[serde(default)]
    pub storage_options: Option<String>,
}

/// The formats of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// Parquet files.
    Parquet,
    /// Arrow IPC files.
    Arrow,
    /// CSV files, with a header.
    Csv,
    /// Files with a JSON object a line.
    Json,
    /// A Lance dataset.
    Lance,
}

/// What becomes of what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The job is refused.
    #[default]
    Error,
    /// It is replaced when the job commits.
    Overwrite,
    /// It stays, and the rows come to it.
    Append,
    /// Rows of a Lance dataset with the same key are replaced, others come to it.
    Upsert,
    /// A Lance dataset gets the columns that it does not have; the rows are its own, in its order.
    AddColumns,
}

/// Reads `target_file_bytes`, which may have a unit.
fn target_file_bytes<'de, D: Deserializer<'de>>(size: D) -> Result<Option<u64>, D::Error> {
    units::read("target_file_bytes", size)
}

impl Output {
    /// An output of which the path says all.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Sets the format.
    #[must_use]
    pub fn format(mut self, format: OutputFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Says what becomes of what is there.
    #[must_use]
    pub fn if_exists(mut self, mode: Mode) -> Self {
        self.if_exists = mode;
        self
    }

    /// Sets the columns that tell rows apart.
    #[must_use]
    pub fn key(mut self, key: impl Into<KeyNames>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the columns whose values stand in the names of folders.
    #[must_use]
    pub fn partition_by<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets about the most bytes of a file.
    #[must_use]
    pub fn target_file_bytes(mut self, bytes: u64) -> Self {
        self.target_file_bytes = Some(bytes);
        self
    }

    /// Sets how files are compressed.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Opens the output with this profile of the workers' settings.
    #[must_use]
    pub fn storage_options(mut self, profile: impl Into<String>) -> Self {
        self.storage_options = Some(profile.into());
        self
    }

    /// What travels to a worker.
    ///
    /// # Errors
    /// `invalid` if an option does not go with the format or with another.
    pub fn spec(&self) -> Result<OutputSpec> {
        let format = self.format.unwrap_or_else(|| OutputFormat::of(&self.path));
        let target_file_bytes = self.target_file_bytes.unwrap_or(TARGET_FILE_BYTES);
        if target_file_bytes == 0 {
            return Err(Error::invalid("target_file_bytes of an output must be at least 1"));
        }
        let kind = match format.of_files() {
            Some(files) => {
                self.refuse_file(format)?;
                self.files(files, target_file_bytes)?
            }
            None => self.lance(target_file_bytes)?,
        };
        let (path, storage_profile) = (absolute(&self.path)?, self.storage_options.clone());
        Ok(OutputSpec { path, storage_profile, kind })
    }

    /// Whether the path is called like one file: a folder of that name is meant where it ends in a
    /// slash.
    pub fn names_a_file(&self) -> bool {
        !self.path.ends_with('/')
            && Format::of_path(&self.path).is_some_and(|format| format != Format::Lance)
    }

    /// Refuses a path that is called like one file: what workers make there is a folder.
    fn refuse_file(&self, format: OutputFormat) -> Result<()> {
        if !self.names_a_file() {
            return Ok(());
        }
        let path = redact(&self.path);
        Err(Error::invalid(match format.of_files() {
            Some(_) => format!(
                "workers write a folder, '{path}/', or a Lance dataset; one file, '{path}', is \
                 written by whoever asks: output in [job], -o FILE, or single_file in Python"
            ),
            None => format!(
                "a Lance dataset is a folder, and '{path}' is called like one file; give it a name \
                 that ends in .lance, or write '{path}/' if a folder of that name is meant"
            ),
        }))
    }

    fn files(&self, format: FileFormat, target_file_bytes: u64) -> Result<OutputKind> {
        let if_exists = self.plain_mode().ok_or_else(|| {
            Error::invalid(format!(
                "if_exists = \"{}\" is for Lance datasets; for {} files it is error, overwrite or \
                 append",
                self.if_exists.name(),
                format.name()
            ))
        })?;
        self.refuse("key", self.key.is_some(), "if_exists = \"upsert\"")?;
        if let Some(compression) = self.compression
            && !format.compressions().contains(&compression)
        {
            let names: Vec<_> = format.compressions().iter().map(|known| known.name()).collect();
            return Err(Error::invalid(format!(
                "{} files are not compressed by {}; choose one of {}",
                format.name(),
                compression.name(),
                names.join(", ")
            )));
        }
        let (partition_by, compression) = (self.partition_by.clone(), self.compression);
        let twice = |at: &usize| partition_by[..*at].contains(&partition_by[*at]);
        if let Some(at) = (1..partition_by.len()).find(twice) {
            return Err(Error::invalid(format!("partition_by names '{}' twice", partition_by[at])));
        }
        Ok(OutputKind::Files(FilesOutput {
            format,
            if_exists,
            partition_by,
            target_file_bytes,
            compression,
        }))
    }

    fn lance(&self, target_file_bytes: u64) -> Result<OutputKind> {
        self.refuse("partition_by", !self.partition_by.is_empty(), "files")?;
        self.refuse("compression", self.compression.is_some(), "files")?;
        if let Some(if_exists) = self.plain_mode() {
            // In the other modes it is there, however it is called.
            self.refuse_file(OutputFormat::Lance)?;
            self.refuse("key", self.key.is_some(), "if_exists = \"upsert\"")?;
            return Ok(OutputKind::Lance { if_exists, target_file_bytes });
        }
        let given = self.target_file_bytes.is_some();
        self.refuse("target_file_bytes", given, "error, overwrite and append")?;
        match (self.if_exists, &self.key) {
            (Mode::Upsert, Some(key)) => {
                Ok(OutputKind::Upsert { key: KeyColumns::try_new(key.names().to_vec())? })
            }
            (Mode::Upsert, None) => Err(Error::invalid(
                "if_exists = \"upsert\" needs key, the column or columns that tell rows apart",
            )),
            (_, key) => {
                self.refuse("key", key.is_some(), "if_exists = \"upsert\"")?;
                Ok(OutputKind::Columns)
            }
        }
    }

    /// The mode, if it is one that every format has.
    fn plain_mode(&self) -> Option<IfExists> {
        match self.if_exists {
            Mode::Error => Some(IfExists::Error),
            Mode::Overwrite => Some(IfExists::Overwrite),
            Mode::Append => Some(IfExists::Append),
            Mode::Upsert | Mode::AddColumns => None,
        }
    }

    fn refuse(&self, option: &str, given: bool, only: &str) -> Result<()> {
        match given {
            true => Err(Error::invalid(format!("{option} of an output is for {only} only"))),
            false => Ok(()),
        }
    }
}

impl OutputFormat {
    /// The format of an output whose path says all.
    fn of(path: &str) -> Self {
        match path.trim_end_matches('/').ends_with(".lance") {
            true => Self::Lance,
            false => Self::Parquet,
        }
    }

    fn of_files(self) -> Option<FileFormat> {
        match self {
            Self::Parquet => Some(FileFormat::Parquet),
            Self::Arrow => Some(FileFormat::Arrow),
            Self::Csv => Some(FileFormat::Csv),
            Self::Json => Some(FileFormat::Json),
            Self::Lance => None,
        }
    }
}

impl Mode {
    /// Its name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Overwrite => "overwrite",
            Self::Append => "append",
            Self::Upsert => "upsert",
            Self::AddColumns => "add_columns",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<OutputSpec> {
        toml::from_str::<Output>(text).map_err(|error| Error::invalid(error.message()))?.spec()
    }

    fn refusal(text: &str) -> String {
        spec(text).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_path_says_what_is_written_unless_told_otherwise() {
        let files = |format| FilesOutput {
            format,
            if_exists: IfExists::Error,
            partition_by: Vec::new(),
            target_file_bytes: 256 << 20,
            compression: None,
        };
        let kind = spec("path = '/out/'").unwrap().kind;
        assert_eq!(kind, OutputKind::Files(files(FileFormat::Parquet)));
        let kind = spec("path = '/out/'\nformat = 'csv'").unwrap().kind;
        assert_eq!(kind, OutputKind::Files(files(FileFormat::Csv)));
        let kind = spec("path = 's3://b/a.lance'\nif_exists = 'append'").unwrap().kind;
        let target_file_bytes = 256 << 20;
        assert_eq!(kind, OutputKind::Lance { if_exists: IfExists::Append, target_file_bytes });
        let kind = spec("path = '/a.lance'\nif_exists = 'upsert'\nkey = 'id'").unwrap().kind;
        assert_eq!(kind, OutputKind::Upsert { key: KeyColumns::one("id") });
        let kind = spec("path = '/a.lance'\nif_exists = 'add_columns'").unwrap().kind;
        assert_eq!(kind, OutputKind::Columns);
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let refused = refusal("path = '/out'\nif_exists = 'upsert'\nkey = 'id'");
        assert!(refused.contains("for parquet files it is error, overwrite or append"));
        let refused = refusal("path = '/out'\nformat = 'csv'\ncompression = 'snappy'");
        assert!(refused.ends_with("choose one of none, gzip, zstd"), "{refused}");
        assert!(refusal("path = '/a.lance'\nif_exists = 'upsert'").contains("needs key"));
        let refused = refusal("path = '/a.lance'\npartition_by = ['day']");
        assert_eq!(refused, "partition_by of an output is for files only");
        let refused = refusal("path = '/a'\npartition_by = ['day', 'day']");
        assert_eq!(refused, "partition_by names 'day' twice");
        let refused = refusal("path = '/out/t.csv.gz'\nformat = 'csv'");
        let expected = "workers write a folder, '/out/t.csv.gz/', or a Lance dataset; one file, ";
        assert!(refused.starts_with(expected), "{refused}");
        assert!(spec("path = '/out/t.csv/'\nformat = 'csv'").is_ok(), "it is a folder");
        for mode in ["error", "overwrite", "append"] {
            let text = format!("path = '/out/t.parquet'\nformat = 'lance'\nif_exists = '{mode}'");
            let expected = "a Lance dataset is a folder, and '/out/t.parquet' is called like one \
                            file; give it a name that ends in .lance, or write '/out/t.parquet/' \
                            if a folder of that name is meant";
            assert_eq!(refusal(&text), expected);
        }
        assert!(spec("path = '/out/t.parquet/'\nformat = 'lance'").is_ok(), "it is a folder");
        let there = "path = '/t.parquet'\nformat = 'lance'\nif_exists = 'upsert'\nkey = 'id'";
        assert!(spec(there).is_ok(), "it is a dataset that somebody has called so");
        assert!(spec("path = '/out/v1.2'").is_ok());
        assert!(refusal("path = '/a'\ntarget_file_bytes = 0").contains("at least 1"));
        assert!(refusal("path = '/a'\nformt = 'csv'").contains("unknown field `formt`"));
    }
}
