//! Parquet files that were written, read back: only what all readers see of them counts.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use datafusion::parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use crate::measure::digest;

/// The Parquet files of a folder.
pub(super) struct Files(Vec<PathBuf>);

impl Files {
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "parquet") {
                files.push(path);
            }
        }
        Ok(Self(files))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> Result<u64> {
        self.0.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
    }

    pub(super) fn rows(&self) -> Result<u64> {
        let rows = self.0.iter().map(|file| {
            let rows = open(file)?.metadata().file_metadata().num_rows();
            u64::try_from(rows).with_context(|| file.display().to_string())
        });
        rows.sum()
    }

    /// Waits until all of them are on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.0.iter().try_for_each(|file| Ok(File::open(file)?.sync_all()?))
    }

    /// The same for the same rows in any order, whoever wrote them.
    pub(super) fn digest(&self) -> Result<u64> {
        let mut digest = 0_u64;
        for file in &self.0 {
            for batch in open(file)?.build()? {
                digest = digest.wrapping_add(digest::of_any_order(&[batch?])?);
            }
        }
        Ok(digest)
    }
}

/// Without what a writer tells of Arrow's types: texts and views of texts are the same columns.
fn open(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let opened = File::open(file).with_context(|| file.display().to_string())?;
    Ok(ParquetRecordBatchReaderBuilder::try_new_with_options(opened, options)?)
}
