//! Rows as they travel between processes: Arrow IPC, in chunks and back.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray},
    datatypes::{DataType, Field},
};
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use keyloom_common::ipc::{Decoder, Encoder};

const ROWS: usize = 8192;
/// Floats of an embedding.
const DIMENSIONS: i32 = 128;
/// The most bytes of a chunk, as workers send them.
const CHUNK_BYTES: usize = 2 << 20;

fn main() -> Result<()> {
    let batch = batch()?;
    let chunks = encode(&batch)?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Bytes(chunks.iter().map(|chunk| chunk.len() as u64).sum()));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode(black_box(&batch)).expect("rows that can travel"));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode(black_box(&chunks)).expect("a stream of this build"));
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}

fn encode(batch: &RecordBatch) -> Result<Vec<Bytes>> {
    let mut encoder = Encoder::try_new(&batch.schema(), CHUNK_BYTES)?;
    let mut chunks = encoder.write(batch)?;
    chunks.extend(encoder.finish()?);
    Ok(chunks)
}

fn decode(chunks: &[Bytes]) -> Result<usize> {
    let mut decoder = Decoder::new();
    let mut rows = 0;
    for chunk in chunks {
        let batches = decoder.push(chunk.clone())?;
        rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    Ok(rows)
}

/// Embeddings and names.
fn batch() -> Result<RecordBatch> {
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let floats = (0..ROWS * DIMENSIONS as usize).map(|number| number as f32);
    let floats = Arc::new(Float32Array::from_iter_values(floats));
    let embeddings = FixedSizeListArray::try_new(item, DIMENSIONS, floats, None)?;
    let names = StringArray::from_iter_values((0..ROWS).map(|row| format!("name {row:09}")));
    let columns: [(&str, ArrayRef); 2] =
        [("embedding", Arc::new(embeddings)), ("name", Arc::new(names))];
    Ok(RecordBatch::try_from_iter(columns)?)
}
