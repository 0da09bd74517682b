//! A file that rows come to.

use arrow::{array::RecordBatch, compute::concat_batches};
use keyloom_common::{Result, output::Piece, size::batch_bytes};

use super::{attempt::Attempt, encode::Encoder, shape::Shape, sink::Sink, staged::Token};
use crate::output::OutputSettings;

/// So many rows are encoded together, where fewer come at a time.
const ROWS: usize = 8192;

/// A file that is being written.
pub(super) struct OutputFile {
    /// Its number among those of the task.
    pub(super) number: u32,
    /// Where it is to be, below the output's folder.
    path: String,
    encoder: Encoder,
    sink: Sink,
    few: Few,
    rows: u64,
    written: u64,
    /// When rows came the last time, as the task counts.
    pub(super) touched: u64,
}

/// A file whose bytes are all there, or on their way.
pub(super) struct Closed {
    number: u32,
    path: String,
    sink: Sink,
    rows: u64,
    written: u64,
}

/// Rows that wait for others.
#[derive(Default)]
struct Few {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: u64,
}

/// What a task's files have in common.
#[derive(Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) shape: &'a Shape,
    pub(super) attempt: &'a Attempt,
    pub(super) settings: &'a OutputSettings,
}

impl OutputFile {
    /// Begins a file of this name in a folder below that of the output.
    pub(super) async fn begin(
        common: Common<'_>,
        folder: &str,
        name: &str,
        number: u32,
    ) -> Result<Self> {
        let Common { shape, attempt, settings } = common;
        let path = match folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        let encoder = Encoder::begin(shape, settings.row_group_bytes).await?;
        let (part, target) = (settings.part_bytes, shape.files.target_file_bytes);
        let sink = Sink::begin(attempt, &path, name, part, target).await?;
        let few = Few::default();
        Ok(Self { number, path, encoder, sink, few, rows: 0, written: 0, touched: 0 })
    }

    /// Appends rows as they stand in the file.
    pub(super) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        if self.few.batches.is_empty() && batch.num_rows() >= ROWS {
            return self.encode(&batch).await;
        }
        self.few.rows += batch.num_rows();
        self.few.bytes += batch_bytes(&batch) as u64;
        self.few.batches.push(batch);
        match self.few.rows >= ROWS {
            true => self.encode_few().await,
            false => Ok(()),
        }
    }

    async fn encode_few(&mut self) -> Result<()> {
        let few = std::mem::take(&mut self.few);
        let Some(first) = few.batches.first() else { return Ok(()) };
        let batch = concat_batches(first.schema_ref(), &few.batches)?;
        drop(few);
        self.encode(&batch).await
    }

    async fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.write(batch).await?;
        self.push().await
    }

    async fn push(&mut self) -> Result<()> {
        let bytes = self.encoder.take();
        self.written += bytes.len() as u64;
        match bytes.is_empty() {
            true => Ok(()),
            false => self.sink.push(bytes).await,
        }
    }

    /// How many bytes it holds in memory.
    pub(super) fn held(&self) -> u64 {
        self.few.bytes + self.encoder.held() + self.sink.held()
    }

    /// About how many bytes it has.
    pub(super) fn size(&self) -> u64 {
        self.written + self.encoder.unfinished() + self.few.bytes
    }

    /// Waits until nothing of it is on its way.
    pub(super) async fn sent(&mut self) -> Result<()> {
        self.sink.sent().await
    }

    /// Writes what can be written of what it holds.
    pub(super) async fn shrink(&mut self) -> Result<()> {
        self.encode_few().await?;
        self.encoder.cut()?;
        self.push().await?;
        self.sent().await
    }

    /// All rows have come: nothing of it is left to compute.
    pub(super) async fn close(mut self) -> Result<Closed> {
        self.encode_few().await?;
        self.encoder.finish().await?;
        self.push().await?;
        let Self { number, path, sink, rows, written, .. } = self;
        Ok(Closed { number, path, sink, rows, written })
    }
}

impl Closed {
    /// Waits until it is stored: its number, and the file as a piece of the output.
    pub(super) async fn stored(self) -> Result<(u32, Piece)> {
        let Self { number, path, sink, rows, written } = self;
        let staged = sink.finish().await?;
        let token = Token { path, staged }.write()?;
        Ok((number, Piece { rows, bytes: written, token }))
    }
}

/// A file without rows.
pub(super) async fn empty(shape: &Shape, row_group_bytes: u64) -> Result<Vec<u8>> {
    let mut encoder = Encoder::begin(shape, row_group_bytes).await?;
    encoder.finish().await?;
    Ok(encoder.take())
}
