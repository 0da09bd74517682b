//! Every format holds what was written.

use std::{fs::File, io::Read};

use arrow::{
    compute::concat_batches, ipc::reader::FileReader, util::pretty::pretty_format_batches,
};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

fn parquet(path: &FilePath) -> Vec<RecordBatch> {
    let file = File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn arrow(path: &FilePath) -> Vec<RecordBatch> {
    let file = File::open(path).unwrap();
    FileReader::try_new(file, None).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn parquet_and_arrow_read_back_equal_however_they_are_compressed() {
    for format in [FileFormat::Parquet, FileFormat::Arrow] {
        for compression in format.compressions() {
            for rows in [flat(), nested()] {
                let target = Target::new();
                let files = FilesOutput { compression: Some(*compression), ..files(format) };
                let batches = [rows.slice(0, 2), rows.slice(2, rows.num_rows() - 2)];
                let done = run(&outputs(), target.spec(files), JOB, &batches).await.unwrap();
                let name = part(0, 0, format.name());
                assert_eq!(target.data(), [name.as_str()]);
                let path = target.path().join(&name);
                let bytes = std::fs::metadata(&path).unwrap().len();
                let expected =
                    Committed { rows: rows.num_rows() as u64, bytes, files: 1, version: None };
                assert_eq!(done, expected);
                let read = match format {
                    FileFormat::Parquet => parquet(&path),
                    _ => arrow(&path),
                };
                assert_eq!(
                    shown(&read),
                    shown(std::slice::from_ref(&rows)),
                    "{format:?} {compression:?}"
                );
                if format == FileFormat::Arrow {
                    assert_eq!(concat_batches(&rows.schema(), &read).unwrap(), rows);
                }
                let types = |batch: &RecordBatch| {
                    let fields = batch.schema().fields().clone();
                    fields.iter().map(|field| field.data_type().is_nested()).collect::<Vec<_>>()
                };
                assert_eq!(types(&read[0]), types(&rows));
            }
        }
    }
}

const CSV: &str = "id,name,day,score,flag\n\
                   0,\"ü 0, \"\"q\"\"\",2022-01-08,0.0,true\n\
                   1,,,,\n\
                   2,\"ü 2, \"\"q\"\"\",2022-01-10,0.5,true\n";

const JSON: &str = r#"{"id":0,"name":"ü 0, \"q\"","day":"2022-01-08","score":0.0,"flag":true}
{"id":1,"name":null,"day":null,"score":null,"flag":null}
{"id":2,"name":"ü 2, \"q\"","day":"2022-01-10","score":0.5,"flag":true}
"#;

#[tokio::test]
async fn text_is_as_the_command_writes_it() {
    for (format, text) in [(FileFormat::Csv, CSV), (FileFormat::Json, JSON)] {
        let target = Target::new();
        let rows = [flat().slice(0, 3)];
        let done = run(&outputs(), target.spec(files(format)), JOB, &rows).await.unwrap();
        let name = part(0, 0, format.name());
        assert_eq!(target.read(&name), text);
        assert_eq!((done.rows, done.bytes, done.files), (3, text.len() as u64, 1));
    }
}

#[tokio::test]
async fn compressed_text_is_named_by_how_and_reads_back() {
    for (compression, ending) in [(Compression::Gzip, "gz"), (Compression::Zstd, "zst")] {
        let target = Target::new();
        let files = FilesOutput { compression: Some(compression), ..files(FileFormat::Csv) };
        run(&outputs(), target.spec(files), JOB, &[flat().slice(0, 3)]).await.unwrap();
        let name = part(0, 0, &format!("csv.{ending}"));
        assert_eq!(target.data(), [name.as_str()]);
        let bytes = std::fs::read(target.path().join(&name)).unwrap();
        assert_eq!(decompressed(compression, &bytes).await, CSV);
    }
}

async fn decompressed(compression: Compression, bytes: &[u8]) -> String {
    use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
    use tokio::io::AsyncReadExt;

    let mut text = String::new();
    match compression {
        Compression::Gzip => GzipDecoder::new(bytes).read_to_string(&mut text).await.unwrap(),
        _ => ZstdDecoder::new(bytes).read_to_string(&mut text).await.unwrap(),
    };
    text
}

#[tokio::test]
async fn a_job_without_rows_writes_the_columns_where_the_format_has_a_place_for_them() {
    for format in [FileFormat::Parquet, FileFormat::Arrow, FileFormat::Csv] {
        let target = Target::new();
        let rows = [flat().slice(0, 0)];
        let done = run(&outputs(), target.spec(files(format)), JOB, &rows).await.unwrap();
        let name = part(0, 0, format.name());
        assert_eq!((target.data(), done.rows, done.files), (vec![name.clone()], 0, 1));
        let mut bytes = Vec::new();
        File::open(target.path().join(&name)).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(done.bytes, bytes.len() as u64);
        if format == FileFormat::Csv {
            assert_eq!(bytes, b"id,name,day,score,flag\n");
        }
        if format == FileFormat::Arrow {
            let reader = FileReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
            assert_eq!(reader.schema(), flat().schema());
        }
    }
    let target = Target::new();
    let rows = [flat().slice(0, 0)];
    let done = run(&outputs(), target.spec(files(FileFormat::Json)), JOB, &rows).await.unwrap();
    assert_eq!((target.data(), done), (Vec::<String>::new(), Committed::default()));
}

#[tokio::test]
async fn files_end_behind_their_size_and_keep_the_order_of_rows() {
    for format in [FileFormat::Csv, FileFormat::Parquet] {
        let target = Target::new();
        let files = FilesOutput { target_file_bytes: 1, ..files(format) };
        let batches: Vec<_> = (0..5).map(|n| numbers(n * 10..n * 10 + 10)).collect();
        let done = run(&outputs(), target.spec(files), JOB, &batches).await.unwrap();
        assert_eq!((done.rows, done.files), (50, 5));
        let names = target.data();
        assert_eq!(names[3], part(0, 3, format.name()));
        let values = names.iter().flat_map(|name| match format {
            FileFormat::Csv => {
                let text = target.read(name);
                text.lines().skip(1).map(|line| line.parse::<i64>().unwrap()).collect::<Vec<_>>()
            }
            _ => {
                let rows = parquet(&target.path().join(name));
                let values = rows[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                values.values().to_vec()
            }
        });
        assert_eq!(values.collect::<Vec<i64>>(), (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn row_groups_end_behind_their_size_and_no_row_is_lost() {
    let settings = OutputSettings { row_group_bytes: 1, ..OutputSettings::default() };
    let target = Target::new();
    let batches: Vec<_> = (0..3).map(|n| numbers(n * 9000..(n + 1) * 9000)).collect();
    let outputs = outputs_of(&stores(), settings);
    run(&outputs, target.spec(files(FileFormat::Parquet)), JOB, &batches).await.unwrap();
    let path = target.path().join(&target.data()[0]);
    let file = File::open(&path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 3);
    let read = concat_batches(&batches[0].schema(), &parquet(&path)).unwrap();
    assert_eq!(read.column(0), numbers(0..27_000).column(0));
}

/// A task has 16 MiB in any case, and here no more.
#[tokio::test]
async fn without_memory_files_are_finished_before_their_time_and_no_row_is_lost() {
    let target = Target::new();
    let settings = OutputSettings { memory_bytes: 1, ..OutputSettings::default() };
    let files = FilesOutput { partition_by: vec!["n".to_owned()], ..files(FileFormat::Csv) };
    let batches: Vec<_> = (0..4).map(|n| large(n, 6 << 20)).collect();
    let outputs = outputs_of(&stores(), settings);
    let done = run(&outputs, target.spec(files), JOB, &batches).await.unwrap();
    assert_eq!((done.rows, done.files), (4, 4));
    for (n, name) in target.data().iter().enumerate() {
        assert!(name.starts_with(&format!("n={n}/")), "{name}");
        assert_eq!(target.read(name).len(), "text\n".len() + (6 << 20) + 1);
    }
}

/// A row with a number, and a text of so many bytes.
fn large(n: i64, bytes: usize) -> RecordBatch {
    let texts = StringArray::from(vec!["x".repeat(bytes)]);
    let numbers = Int64Array::from(vec![n]);
    batch([("n", array(numbers)), ("text", array(texts))])
}
