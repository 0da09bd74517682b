//! Windows: consecutive batches that are looked up together, so that each key and each part of a
//! store's files is read once for many rows.
//!
//! A window is bounded by rows and by the bytes that its answers are expected to take. A batch whose
//! answers would take more is cut.

use std::collections::VecDeque;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
};
use datafusion::{error::Result, execution::SendableRecordBatchStream};
use futures::{Stream, StreamExt, stream};

use super::LookupSettings;

/// What the answers of one fetch weigh.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// The column of the input that holds the keys, if they are nothing but a column.
    pub(super) keys: Option<usize>,
    /// About how many bytes a key's answers take.
    pub(super) bytes: u64,
}

struct Windows {
    input: SendableRecordBatchStream,
    weights: Vec<Weight>,
    rows: usize,
    bytes: u64,
    /// Batches, or parts of them, with what they weigh.
    waiting: VecDeque<(RecordBatch, u64)>,
}

/// The input in windows, none of them empty.
pub(super) fn windows(
    input: SendableRecordBatchStream,
    weights: Vec<Weight>,
    settings: &LookupSettings,
) -> impl Stream<Item = Result<Vec<RecordBatch>>> + use<> {
    let windows = Windows {
        input,
        weights,
        rows: settings.window_rows.max(1),
        bytes: settings.window_bytes.max(1),
        waiting: VecDeque::new(),
    };
    stream::try_unfold(windows, async |mut windows| {
        Ok(windows.next().await?.map(|window| (window, windows)))
    })
}

impl Windows {
    async fn next(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        let (mut window, mut rows, mut bytes) = (Vec::new(), 0, 0);
        loop {
            while let Some((batch, weight)) = self.waiting.front() {
                let (next_rows, next_bytes) = (rows + batch.num_rows(), bytes + weight);
                if !window.is_empty() && (next_rows > self.rows || next_bytes > self.bytes) {
                    return Ok(Some(window));
                }
                (rows, bytes) = (next_rows, next_bytes);
                window.extend(self.waiting.pop_front().map(|(batch, _)| batch));
            }
            match self.input.next().await {
                Some(batch) => self.cut(batch?),
                None if window.is_empty() => return Ok(None),
                None => return Ok(Some(window)),
            }
        }
    }

    /// Cuts a batch into parts that are expected to fit a window.
    fn cut(&mut self, batch: RecordBatch) {
        let weight: u64 = self.weights.iter().map(|weight| weight.of(&batch)).sum();
        let parts = weight.div_ceil(self.bytes).max(1);
        let rows = batch.num_rows().div_ceil(parts as usize).clamp(1, self.rows);
        for start in (0..batch.num_rows()).step_by(rows) {
            let part = batch.slice(start, rows.min(batch.num_rows() - start));
            self.waiting.push_back((part, weight / parts));
        }
    }
}

impl Weight {
    fn of(&self, batch: &RecordBatch) -> u64 {
        let rows = batch.num_rows() as u64;
        let elements = self.keys.and_then(|column| elements(batch.column(column)));
        elements.unwrap_or(rows).saturating_mul(self.bytes)
    }
}

/// How many elements lists have.
fn elements(lists: &dyn Array) -> Option<u64> {
    match lists.data_type() {
        DataType::List(_) => {
            let offsets = lists.as_list::<i32>().value_offsets();
            Some((offsets.last()? - offsets.first()?) as u64)
        }
        DataType::LargeList(_) => {
            let offsets = lists.as_list::<i64>().value_offsets();
            Some((offsets.last()? - offsets.first()?) as u64)
        }
        DataType::FixedSizeList(_, size) => Some(lists.len() as u64 * *size as u64),
        DataType::ListView(_) => {
            Some(lists.as_list_view::<i32>().value_sizes().iter().map(|size| *size as u64).sum())
        }
        DataType::LargeListView(_) => {
            Some(lists.as_list_view::<i64>().value_sizes().iter().map(|size| *size as u64).sum())
        }
        _ => None,
    }
}
