//! The output file as users name it.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A file for rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputFile {
    /// The file; its ending says the format.
    pub(crate) path: PathBuf,
    /// Whether columns keep their Arrow types in Parquet, for readers that know them all.
    pub(crate) arrow_types: bool,
}

impl OutputFile {
    /// A file that all can read.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), arrow_types: false }
    }
}

/// The long form of an output.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    path: PathBuf,
    #[serde(default)]
    arrow_types: bool,
}

impl<'de> Deserialize<'de> for OutputFile {
    fn deserialize<D: Deserializer<'de>>(output: D) -> Result<Self, D::Error> {
        output.deserialize_any(PathOrOptions)
    }
}

struct PathOrOptions;

impl<'de> Visitor<'de> for PathOrOptions {
    type Value = OutputFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a table with path and arrow_types")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<OutputFile, E> {
        Ok(OutputFile::new(path))
    }

    fn visit_map<A: MapAccess<'de>>(self, options: A) -> Result<OutputFile, A::Error> {
        let Options { path, arrow_types } =
            Options::deserialize(MapAccessDeserializer::new(options))?;
        Ok(OutputFile { path, arrow_types })
    }
}
