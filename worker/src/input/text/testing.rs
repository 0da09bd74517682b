//! What the tests of text share: files in memory, and batches as text.

use std::{fmt::Write, ops::Range, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use keyloom_common::{Error, ErrorKind, Result, plan::FileSlice};
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt, chunked::ChunkedStore, memory::InMemory, path::Path,
};

/// Files in memory, which come in chunks of some bytes.
pub(super) async fn files(files: &[(&str, &[u8])], chunk: usize) -> Arc<dyn ObjectStore> {
    let memory = InMemory::new();
    for (path, bytes) in files {
        memory.put(&Path::from(*path), bytes.to_vec().into()).await.unwrap();
    }
    match chunk {
        0 => Arc::new(memory),
        chunk => Arc::new(ChunkedStore::new(Arc::new(memory), chunk)),
    }
}

/// The files of a store, by their names.
pub(super) async fn list(store: &Arc<dyn ObjectStore>) -> Vec<ObjectMeta> {
    let mut files: Vec<_> = store.list(None).try_collect().await.unwrap();
    files.sort_by(|a: &ObjectMeta, b| a.location.cmp(&b.location));
    files
}

pub(super) fn slice(file: &ObjectMeta, bytes: Range<u64>, lines_before: u64) -> FileSlice {
    FileSlice {
        path: file.location.to_string(),
        size: file.size,
        e_tag: None,
        modified_ns: 0,
        partition_values: Vec::new(),
        bytes,
        rows: None,
        lines_before,
    }
}

pub(super) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields = columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The names and types of columns, as `a: Int64, b: Utf8`.
pub(super) fn types(schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type()));
    columns.collect::<Vec<_>>().join(", ")
}

/// Rows as text: values between `|`, nulls as `∅`.
pub(super) async fn rows(
    stream: Result<BoxStream<'static, Result<RecordBatch>>>,
) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    let mut stream = stream?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let options = FormatOptions::new().with_null("∅");
        let columns: Vec<_> = (batch.columns().iter())
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (index, column) in columns.iter().enumerate() {
                let separator = if index == 0 { "" } else { "|" };
                write!(text, "{separator}{}", column.value(row)).unwrap();
            }
            rows.push(text);
        }
    }
    Ok(rows)
}

/// The message of an error that the user can mend.
pub(super) fn invalid<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error: Error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    error.message().to_owned()
}

/// Numbers that look random, from a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// One of so many.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub(super) fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}
