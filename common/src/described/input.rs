//! Files as users name them: a path, and what they say of the files' contents.

use std::fmt;

use arrow::datatypes::{Field, Schema};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::{absolute, pinned::pin};
use crate::{
    error::{Error, Result},
    input::{CsvOptions, Format, InputSpec, parse_type},
    units,
};

/// How many bytes of text columns are learnt from, unless `infer_bytes` says otherwise.
const INFER_BYTES: u64 = 16 << 20;

/// An input: a file, a folder or a glob, and how it is read. The names of the options are the same
/// in job files and in the flags of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// A path, or a URL that the workers can open (`file://`, `s3://`, `gs://`, `az://`,
    /// `https://`).
    #[serde(alias = "uri")]
    pub path: String,
    /// The format; by the names' endings if absent.
    #[serde(default, alias = "kind")]
    pub format: Option<Format>,
    /// The types of some columns or of all, by SQL's names or Arrow's (`zip = "text"`). For CSV
    /// without a header: all columns, in order. A list of pairs (`[["zip", "text"]]`) has an order
    /// wherever it is written.
    #[serde(default)]
    pub columns: Columns,
    /// CSV: the character between values. Default `,`, and a tab for names that end in `.tsv`.
    #[serde(default)]
    pub delimiter: Option<String>,
    /// CSV: the character around values that hold delimiters or line breaks. Default `"`.
    #[serde(default)]
    pub quote: Option<String>,
    /// CSV: the character before a quote within quotes. Default none: quotes are doubled.
    #[serde(default)]
    pub escape: Option<String>,
    /// CSV: the character at the start of lines that are passed over. Default none.
    #[serde(default)]
    pub comment: Option<String>,
    /// CSV: whether the first line of each file names the columns. Default true.
    #[serde(default)]
    pub header: Option<bool>,
    /// CSV: words that mean null, beside the empty one. Default none.
    #[serde(default)]
    pub nulls: Option<Vec<String>>,
    /// CSV and JSON: how many bytes columns and their types are learnt from, of all files in their
    /// order. Default 16 MiB.
    #[serde(default, deserialize_with = "infer_bytes")]
    pub infer_bytes: Option<u64>,
    /// The name of a profile in the workers' settings with options for the object store.
    #[serde(default)]
    pub storage_options: Option<String>,
    /// Whether folders that are called `name=value` are columns. Default true.
    #[serde(default)]
    pub hive_partitioning: Option<bool>,
    /// Lance: the version to read; the newest if absent.
    #[serde(default)]
    pub version: Option<u64>,
    /// Lance: the tag to read, instead of a version.
    #[serde(default)]
    pub tag: Option<String>,
}

/// Reads `infer_bytes`, which may have a unit.
fn infer_bytes<'de, D: Deserializer<'de>>(size: D) -> Result<Option<u64>, D::Error> {
    units::read("infer_bytes", size)
}

/// Columns and the names of their types, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(pub Vec<(String, String)>);

impl Input {
    /// Files of which the path says all.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Sets the format.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Reads this version of a Lance dataset.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Reads the version of a Lance dataset with this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Sets the type of a column.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, type_name: impl Into<String>) -> Self {
        self.columns.0.push((name.into(), type_name.into()));
        self
    }

    /// Sets the character between values of CSV.
    #[must_use]
    pub fn delimiter(mut self, delimiter: impl Into<String>) -> Self {
        self.delimiter = Some(delimiter.into());
        self
    }

    /// Says whether the first line of CSV files names the columns.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = Some(header);
        self
    }

    /// Sets words of CSV that mean null.
    #[must_use]
    pub fn nulls<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.nulls = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Opens the files with this profile of the workers' settings.
    #[must_use]
    pub fn storage_options(mut self, profile: impl Into<String>) -> Self {
        self.storage_options = Some(profile.into());
        self
    }

    /// What travels to a worker; pieces of files that can be read by themselves have about so many
    /// bytes.
    ///
    /// # Errors
    /// `invalid` if an option has a value that it cannot have, or contradicts another.
    pub fn spec(&self, piece_bytes: u64) -> Result<InputSpec> {
        let pin = pin("an input", self.version, self.tag.clone())?;
        let column = |(name, type_name): &(String, String)| -> Result<Field> {
            let data_type = parse_type(type_name)
                .map_err(|error| error.context(format!("columns: '{name}'")))?;
            Ok(Field::new(name, data_type, true))
        };
        let columns = self.columns.0.iter().map(column).collect::<Result<Vec<_>>>()?;
        if let Some(twice) = (1..columns.len())
            .find(|&at| columns[..at].iter().any(|before| before.name() == columns[at].name()))
        {
            let name = columns[twice].name();
            return Err(Error::invalid(format!("columns names '{name}' twice")));
        }
        Ok(InputSpec {
            path: absolute(&self.path)?,
            format: self.format,
            columns: Schema::new(columns).into(),
            csv: self.csv()?,
            given: self.given(),
            infer_bytes: self.infer_bytes.unwrap_or(INFER_BYTES),
            storage_profile: self.storage_options.clone(),
            hive_partitioning: self.hive_partitioning.unwrap_or(true),
            pin,
            piece_bytes: piece_bytes.max(1),
        })
    }

    fn csv(&self) -> Result<CsvOptions> {
        let defaults = CsvOptions::default();
        let byte = |name, given: &Option<String>| {
            given.as_deref().map(|given| single_byte(name, given)).transpose()
        };
        Ok(CsvOptions {
            delimiter: byte("delimiter", &self.delimiter)?.unwrap_or(defaults.delimiter),
            quote: byte("quote", &self.quote)?.unwrap_or(defaults.quote),
            escape: byte("escape", &self.escape)?,
            comment: byte("comment", &self.comment)?,
            header: self.header.unwrap_or(defaults.header),
            nulls: self.nulls.clone().unwrap_or_default(),
            unproven: Vec::new(),
        })
    }

    /// The names of the options that were given, but for those that every format takes.
    fn given(&self) -> Vec<String> {
        let options = [
            ("columns", !self.columns.0.is_empty()),
            ("delimiter", self.delimiter.is_some()),
            ("quote", self.quote.is_some()),
            ("escape", self.escape.is_some()),
            ("comment", self.comment.is_some()),
            ("header", self.header.is_some()),
            ("nulls", self.nulls.is_some()),
            ("infer_bytes", self.infer_bytes.is_some()),
            ("hive_partitioning", self.hive_partitioning.is_some()),
            ("version", self.version.is_some()),
            ("tag", self.tag.is_some()),
        ];
        let given = options.into_iter().filter(|(_, given)| *given);
        given.map(|(name, _)| name.to_owned()).collect()
    }
}

/// Characters of CSV are single bytes; a tab may be written as `\t`, too.
fn single_byte(option: &str, given: &str) -> Result<u8> {
    match given.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(Error::invalid(format!("{option} is one ASCII character, not '{given}'"))),
    }
}

impl From<&str> for Input {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<&String> for Input {
    fn from(path: &String) -> Self {
        Self::new(path)
    }
}

impl From<String> for Input {
    fn from(path: String) -> Self {
        Self::new(path)
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of column names and types, like { zip = \"text\" }")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Columns, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = seq.next_element()? {
                    columns.push(column);
                }
                Ok(Columns(columns))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_any(InOrder)
    }
}
