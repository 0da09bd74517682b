//! The rows of a slice of a JSON file.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    json::{ReaderBuilder, reader::Decoder},
};
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use keyloom_common::{Error, Result, input::JsonLayout, plan::FileSlice};
use object_store::{ObjectStore, path::Path};

use super::{
    convert::{convert, decoded},
    elements, lines, misfit,
};
use crate::input::text::{
    chunks::{self, Chunks},
    error::{at_line, parse_path},
    source,
};

/// Reads a slice: the lines that start within it, or the whole of a file. The schema has all
/// columns of the table. At most `batch_rows` rows come at once.
///
/// # Errors
/// If the file cannot be read. The stream fails at the first row that does not fit, with its line:
/// one that has a field that is no column, too, unless it is known that there is none.
pub(in crate::input) async fn open(
    store: Arc<dyn ObjectStore>,
    slice: FileSlice,
    layout: JsonLayout,
    schema: SchemaRef,
    projection: Vec<usize>,
    batch_rows: usize,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let path = parse_path(&slice.path)?;
    let chunks = if slice.is_whole() {
        let text = source::open(&*store, &path, 0..slice.size).await?;
        elements::rows(text.chunks, &path).await?
    } else {
        lines::read(Arc::clone(&store), &path, slice.size, slice.bytes.clone()).await?
    };
    let columns = Columns::new(layout, &schema, &projection)?;
    let decoder = columns.decoder(batch_rows)?;
    let reader = SliceReader {
        store,
        path,
        columns,
        chunks,
        chunk: Bytes::new(),
        ended: false,
        decoder,
        held: Vec::new(),
        start: slice.bytes.start,
        lines: 0,
    };
    Ok(stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|batch| (batch, reader)))
    })
    .boxed())
}

/// What is decoded, and what becomes of it.
#[derive(Debug)]
pub(super) struct Columns {
    /// The columns that are decoded, the wanted ones as the table has them: if it is not known that
    /// the rows have no other fields, all of the table.
    pub(super) table: SchemaRef,
    /// The same with types that Arrow's reader gives.
    pub(super) decoded: SchemaRef,
    /// Whether fields that are no columns are mistakes.
    pub(super) strict: bool,
    /// For each projected column, which of the decoded ones it is.
    sources: Vec<usize>,
    projected: SchemaRef,
}

impl Columns {
    fn new(layout: JsonLayout, schema: &SchemaRef, projection: &[usize]) -> Result<Self> {
        let all = |schema: &SchemaRef| (0..schema.fields().len()).collect::<Vec<_>>();
        let mut kept = if layout.complete { projection.to_vec() } else { all(schema) };
        kept.sort_unstable();
        kept.dedup();
        let sources = projection.iter().filter_map(|index| kept.binary_search(index).ok());
        let sources = sources.collect();
        let wanted: HashSet<_> = projection.iter().collect();
        let fields = kept.iter().map(|index| {
            let field = schema.field(*index);
            match wanted.contains(index) || field.data_type().is_nested() {
                true => field.clone(),
                // Any scalar will do, and this type takes the least time.
                false => Field::new(field.name(), DataType::Utf8View, true),
            }
        });
        let table = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let fields = table.fields().iter().map(|field| {
            Field::new(field.name(), decoded(field.data_type(), layout.complete), true)
        });
        let decoded = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let projected = Arc::new(schema.project(projection)?);
        Ok(Self { table, decoded, strict: !layout.complete, sources, projected })
    }

    fn decoder(&self, batch_rows: usize) -> Result<Decoder> {
        let builder = ReaderBuilder::new(Arc::clone(&self.decoded))
            .with_batch_size(batch_rows.max(1))
            .with_coerce_primitive(true)
            .with_strict_mode(self.strict);
        Ok(builder.build_decoder()?)
    }

    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.sources.iter().zip(self.projected.fields());
        let columns = columns
            .map(|(source, field)| convert(batch.column(*source), field.data_type()))
            .collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.projected), columns, &options)
    }
}

/// A slice that is being read.
struct SliceReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    columns: Columns,
    chunks: Chunks,
    /// What is left of the last chunk.
    chunk: Bytes,
    ended: bool,
    decoder: Decoder,
    /// The text of the rows that are in the decoder.
    held: Vec<Bytes>,
    /// Where the slice starts.
    start: u64,
    /// How many lines of the slice stand before the text that is held.
    lines: u64,
}

impl SliceReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = loop {
            while self.chunk.is_empty() && !self.ended {
                match self.chunks.try_next().await? {
                    Some(chunk) => self.chunk = chunk,
                    None => self.ended = true,
                }
            }
            if self.chunk.is_empty() {
                break self.flush();
            }
            match self.decoder.decode(&self.chunk) {
                Ok(used) => self.held.push(self.chunk.split_to(used)),
                Err(error) => {
                    self.held.push(self.chunk.clone());
                    break Err(error);
                }
            }
            if !self.chunk.is_empty() {
                break self.flush();
            }
        };
        match batch {
            Ok(batch) => Ok(batch),
            Err(error) => {
                let before = lines_before(&*self.store, &self.path, self.start).await?;
                Err(self.misfit(before + self.lines, &error))
            }
        }
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let batch = self.decoder.flush()?;
        let batch = batch.map(|batch| self.columns.project(&batch)).transpose()?;
        self.lines += self.held.drain(..).map(|text| count_lines(&text)).sum::<u64>();
        Ok(batch)
    }

    /// Where the text that the decoder failed at is wrong, before which a number of lines stand.
    fn misfit(&self, before: u64, error: &ArrowError) -> Error {
        let text = self.held.concat();
        misfit::find(&text, before, &self.path, &self.columns, error).unwrap_or_else(|| {
            at_line(&self.path, before + 1, format!("or later: {}", misfit::reason(error)))
        })
    }
}

/// How many lines of a file stand before a slice.
async fn lines_before(store: &dyn ObjectStore, path: &Path, start: u64) -> Result<u64> {
    let Some(before) = start.checked_sub(1) else { return Ok(0) };
    let chunks = chunks::read(store, path, 0..before).await?;
    // The line break from which on the slice was read counts, too.
    chunks.try_fold(1, |lines, chunk| async move { Ok(lines + count_lines(&chunk)) }).await
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
