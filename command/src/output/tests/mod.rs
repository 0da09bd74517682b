//! What stands in files, read back.

mod kept;
mod lines;
mod plain;
mod refused;

use std::{fs::File, path::PathBuf, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, RecordBatch},
        datatypes::{Field, Schema},
        util::display::array_value_to_string,
    },
    parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
};

use super::{Destination, OutputFile};
use crate::error::Failure;

/// A column of the name `x`.
fn column(array: impl Array + 'static) -> RecordBatch {
    batch([("x", Arc::new(array) as ArrayRef)])
}

fn batch<'a>(columns: impl IntoIterator<Item = (&'a str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// A folder that goes with its file.
struct Written {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

fn write(name: &str, arrow_types: bool, batches: &[RecordBatch]) -> Result<Written, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let file = OutputFile { path: folder.path().join(name), arrow_types };
    let mut output = Destination::check(file)?.create(&batches[0].schema())?;
    for batch in batches {
        output.write(batch.clone())?;
    }
    Ok(Written { path: output.finish()?, _folder: folder })
}

/// The rows of a Parquet file by the Arrow schema that it embeds, or by Parquet's own.
fn read(written: &Written, embedded: bool) -> RecordBatch {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(!embedded);
    let file = File::open(&written.path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    reader.build().unwrap().next().unwrap().unwrap()
}

/// The values of a batch's first column.
fn values(batch: &RecordBatch) -> Vec<String> {
    let column = batch.column(0);
    let nulls = column.logical_nulls();
    let value = |row| match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
        true => "null".to_owned(),
        false => array_value_to_string(column, row).unwrap(),
    };
    (0..column.len()).map(value).collect()
}

fn refusal(failure: Option<Failure>) -> (String, String) {
    let failure = failure.expect("it was written");
    (failure.message.unwrap_or_default(), failure.help.unwrap_or_default())
}

#[test]
fn an_output_that_cannot_be_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let check = |file: OutputFile, words: &str| {
        let (message, _) = refusal(Destination::check(file).err());
        assert!(message.contains(words), "{message}");
    };
    check(OutputFile::new("s3://bucket/x.parquet"), "not to a URL");
    check(OutputFile::new(path("x.xls")), "use .parquet, .arrow, .csv or .json");
    check(OutputFile::new(path("none/x.csv")), "there is no folder");
    std::fs::create_dir(path("x.csv")).unwrap();
    check(OutputFile::new(path("x.csv")), "is a folder");
    for name in ["x.arrow", "y.csv", "x.json"] {
        let file = OutputFile { path: path(name), arrow_types: true };
        check(file, "arrow_types is for .parquet files");
    }
}

#[test]
fn names_that_stand_twice_are_refused() {
    let field = |name: &str| Field::new(name, datafusion::arrow::datatypes::DataType::Int32, true);
    let struct_of_two =
        datafusion::arrow::datatypes::DataType::Struct(vec![field("a"), field("a")].into());
    let check = |fields: Vec<Field>, words: &str| {
        for name in ["x.parquet", "x.arrow", "x.json"] {
            let batch = RecordBatch::new_empty(Arc::new(Schema::new(fields.clone())));
            let (message, _) = refusal(write(name, false, &[batch]).err());
            assert_eq!(message, words, "{name}");
        }
    };
    check(vec![field("a"), field("b"), field("a")], "two columns of the result are called 'a'");
    check(
        vec![Field::new("s", struct_of_two, true)],
        "column 's' holds structs with two fields called 'a'",
    );
}
