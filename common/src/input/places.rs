//! Where workers read files and datasets of each format from.

use url::Url;

use super::Format;
use crate::error::{Error, Result};

/// The schemes of the files that workers read.
const FILES: [&str; 9] = ["file", "s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https"];

/// The schemes of Lance datasets: those that Lance, as it is built here, finds something behind.
/// The second and the third are local files, too, which Lance reads in other ways.
const DATASETS: [&str; 4] = ["file", "file-object-store", "file+uring", "s3"];

impl Format {
    /// Refuses a URL with a scheme from which nothing of the format is read. What is no URL is a
    /// path, for workers as well.
    ///
    /// # Errors
    /// `invalid`, naming the scheme and the choices.
    pub fn check_place(self, url: &str) -> Result<()> {
        let Ok(url) = Url::parse(url) else { return Ok(()) };
        let (what, known): (&str, &[&str]) = match self {
            Self::Lance => ("Lance datasets", &DATASETS),
            Self::Parquet | Self::Csv | Self::Json | Self::Arrow => ("inputs", &FILES),
        };
        if known.contains(&url.scheme()) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what} are read from local paths, {}://, not {}://",
            known.join("://, "),
            url.scheme()
        )))
    }
}
