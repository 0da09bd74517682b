//! Compressed text, and files that are no text.

use std::sync::Arc;

use arrow::datatypes::Schema;
use async_compression::tokio::write::{BzEncoder, GzipEncoder, XzEncoder, ZstdEncoder};
use keyloom_common::{
    Result,
    input::{CsvOptions, JsonLayout, Piece},
};
use tokio::io::AsyncWriteExt;

use super::{
    csv, json,
    testing::{files, invalid, list, rows, slice},
};

async fn compress(name: &str, text: &[u8]) -> Vec<u8> {
    macro_rules! encode {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(text).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    match name {
        "gzip" => encode!(GzipEncoder),
        "zstd" => encode!(ZstdEncoder),
        "bzip2" => encode!(BzEncoder),
        "xz" => encode!(XzEncoder),
        _ => text.to_vec(),
    }
}

const COMPRESSIONS: [&str; 4] = ["gzip", "zstd", "bzip2", "xz"];

/// The rows of a CSV file, which is one piece.
async fn read_csv(bytes: &[u8], chunk: usize) -> Result<Vec<String>> {
    let store = files(&[("a.csv", bytes)], chunk).await;
    let file = list(&store).await.remove(0);
    let options = CsvOptions::default();
    let given = Schema::empty();
    let learnt = csv::infer(&*store, std::slice::from_ref(&file), &options, &given, 1 << 20);
    let schema = learnt.await?.schema;
    let all = (0..schema.fields().len()).collect();
    let slice = slice(&file, 0..file.size, 0);
    rows(csv::open(Arc::clone(&store), slice, options, schema, all, 100).await).await
}

async fn read_json(bytes: &[u8], chunk: usize) -> Result<Vec<String>> {
    let store = files(&[("a.json", bytes)], chunk).await;
    let file = list(&store).await.remove(0);
    let given = Schema::empty();
    let (schema, complete) =
        json::infer(&*store, std::slice::from_ref(&file), &given, 1 << 20).await?;
    let all = (0..schema.fields().len()).collect();
    let (layout, slice) = (JsonLayout { complete }, slice(&file, 0..file.size, 0));
    rows(json::open(Arc::clone(&store), slice, layout, schema, all, 100).await).await
}

#[tokio::test]
async fn compressed_text_is_read_whatever_its_name() {
    let expected: Vec<_> = (0..1000).map(|row| format!("{row}|x{row}")).collect();
    let csv: String = (0..1000).map(|row| format!("{row},x{row}\n")).collect();
    let json: String =
        (0..1000).map(|row| format!("{{\"a\": {row}, \"b\": \"x{row}\"}}\n")).collect();
    let array = format!("[{}]", json.trim_end().replace('\n', ","));
    for name in COMPRESSIONS {
        for chunk in [0, 1, 100] {
            let text = compress(name, format!("\u{feff}a,b\n{csv}").as_bytes()).await;
            assert_eq!(read_csv(&text, chunk).await.unwrap(), expected, "{name}");
            let text = compress(name, json.as_bytes()).await;
            assert_eq!(read_json(&text, chunk).await.unwrap(), expected, "{name}");
            let text = compress(name, array.as_bytes()).await;
            assert_eq!(read_json(&text, chunk).await.unwrap(), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn compressed_text_is_one_piece() {
    for name in COMPRESSIONS {
        let text = compress(name, b"{\"a\": 1}\n{\"a\": 2}\n").await;
        let store = files(&[("a", &text)], 0).await;
        let file = list(&store).await.remove(0);
        let whole = [Piece { start: 0, rows: None, lines_before: 0 }];
        let options = CsvOptions::default();
        assert_eq!(csv::pieces(&*store, &file, &options, 1).await.unwrap(), whole, "{name}");
        assert_eq!(json::pieces(&*store, &file, 1).await.unwrap(), whole, "{name}");
    }
}

#[tokio::test]
async fn several_members_are_one_text() {
    for name in COMPRESSIONS {
        let mut bytes = compress(name, b"a,b\n1,\"x\n").await;
        bytes.extend(compress(name, b"").await);
        bytes.extend(compress(name, b"y\"\n2,z\n").await);
        assert_eq!(read_csv(&bytes, 3).await.unwrap(), ["1|x\ny", "2|z"], "{name}");
    }
}

#[tokio::test]
async fn broken_compression_is_an_error_that_names_the_file() {
    let text: String = (0..5000).map(|row| format!("{row},{}\n", row * 7919 % 5003)).collect();
    for name in COMPRESSIONS {
        let whole = compress(name, format!("a,b\n{text}").as_bytes()).await;
        for length in [whole.len() / 2, whole.len() - 1] {
            let error = invalid(read_csv(&whole[..length], 0).await);
            assert!(error.starts_with(&format!("file 'a.csv' is not whole {name}: ")), "{error}");
        }
    }
}

#[tokio::test]
async fn files_that_are_no_text_are_refused_by_name() {
    let utf16 =
        |order: fn(u16) -> [u8; 2]| "\u{feff}a,b\n".encode_utf16().flat_map(order).collect();
    let cases: [(Vec<u8>, &str); 5] = [
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00rest".to_vec(), "a zip archive: unpack it"),
        (utf16(u16::to_le_bytes), "UTF-16 text: convert it to UTF-8"),
        (utf16(u16::to_be_bytes), "UTF-16 text: convert it to UTF-8"),
        (b"a\0,\0b\0\n\0".to_vec(), "UTF-16 text or no text at all"),
        (b"PAR1 and more".to_vec(), "a Parquet file"),
    ];
    for (bytes, what) in cases {
        for bytes in [bytes.clone(), compress("gzip", &bytes).await] {
            for error in [read_csv(&bytes, 1).await, read_json(&bytes, 1).await] {
                let error = invalid(error);
                let name = if error.contains(".csv") { "a.csv" } else { "a.json" };
                assert!(error.starts_with(&format!("file '{name}' is {what}")), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn text_that_only_looks_compressed_is_text() {
    assert_eq!(read_csv(b"BZh91,b\n1,2", 0).await.unwrap(), ["1|2"]);
}
