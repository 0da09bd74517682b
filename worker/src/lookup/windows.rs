//! Windows: consecutive batches that are looked up together, so that each key and each part of a
//! store's files is read once for many rows.
//!
//! A window is bounded by rows and by the bytes that its answers are expected to take, which there
//! must be [memory](super::memory) for. A batch whose answers would take more is cut. Where a few
//! rows are likely to be all that is wanted, windows begin with these and grow.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
};
use datafusion::{error::Result, execution::SendableRecordBatchStream};
use futures::{Stream, StreamExt, stream};

use super::{
    LookupSettings,
    memory::{Room, Rooms},
};

/// What the answers of one fetch weigh.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// The column of the input that holds the keys, if they are nothing but a column.
    pub(super) keys: Option<usize>,
    /// About how many bytes the values of one of a key's rows take.
    pub(super) bytes: u64,
    /// About how many rows a key has, as far as that is known by now.
    pub(super) rows: Arc<AtomicU64>,
}

/// What is looked up together, and what it takes.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) batches: Vec<RecordBatch>,
    /// How many rows came before.
    pub(super) start: u64,
    pub(super) room: Room,
}

struct Windows {
    input: SendableRecordBatchStream,
    weights: Vec<Weight>,
    /// The most rows of the next window, and of any.
    rows: usize,
    most_rows: usize,
    bytes: u64,
    rooms: Rooms,
    waiting: VecDeque<Part>,
    /// Rows of the windows so far.
    passed: u64,
}

/// A batch or a part of one, and what its answers weigh.
struct Part {
    batch: RecordBatch,
    weight: u64,
}

/// How many times as many rows a window may have as the one before it, as long as they grow.
const GROWTH: usize = 4;

/// The input in windows, none of them empty. If few rows are likely to be enough, the first window
/// has those.
pub(super) fn windows(
    input: SendableRecordBatchStream,
    weights: Vec<Weight>,
    settings: &LookupSettings,
    rooms: Rooms,
    first_rows: Option<usize>,
) -> impl Stream<Item = Result<Window>> + use<> {
    let most_rows = settings.window_rows.max(1);
    let windows = Windows {
        input,
        weights,
        rows: first_rows.map_or(most_rows, |rows| rows.clamp(1, most_rows)),
        most_rows,
        bytes: settings.window_bytes.min(rooms.most()).max(1),
        rooms,
        waiting: VecDeque::new(),
        passed: 0,
    };
    stream::try_unfold(windows, async |mut windows| {
        Ok(windows.next().await?.map(|window| (window, windows)))
    })
}

impl Windows {
    async fn next(&mut self) -> Result<Option<Window>> {
        let Some(part) = self.part().await? else { return Ok(None) };
        let part = self.first_of(part);
        let room = self.rooms.take(part.weight).await;
        let first = self.shorten(part, room.answers());
        let (mut rows, mut bytes) = (first.batch.num_rows(), first.weight);
        room.hold(bytes);
        let mut batches = vec![first.batch];
        while let Some(part) = self.part().await? {
            (rows, bytes) = (rows + part.batch.num_rows(), bytes.saturating_add(part.weight));
            if rows > self.rows || bytes > self.bytes || !room.try_grow(part.weight) {
                self.waiting.push_front(part);
                break;
            }
            batches.push(part.batch);
        }
        self.rows = self.rows.saturating_mul(GROWTH).min(self.most_rows);
        let start = self.passed;
        self.passed += batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        Ok(Some(Window { batches, start, room }))
    }

    /// What comes next of the input, as much of it as is expected to fit a window.
    async fn part(&mut self) -> Result<Option<Part>> {
        loop {
            if let Some(part) = self.waiting.pop_front() {
                return Ok(Some(part));
            }
            let Some(batch) = self.input.next().await.transpose()? else { return Ok(None) };
            let weights = self.weights.iter().map(|weight| weight.of(&batch));
            let weight = weights.fold(0, u64::saturating_add);
            self.waiting.extend(Part { batch, weight }.cut(self.most_rows, self.bytes));
        }
    }

    /// As many rows of a part as the next window may have. The rest waits.
    fn first_of(&mut self, part: Part) -> Part {
        let rows = part.batch.num_rows();
        if rows <= self.rows {
            return part;
        }
        let weight = part.weight / rows as u64 * self.rows as u64;
        let rest = part.batch.slice(self.rows, rows - self.rows);
        self.waiting.push_front(Part { batch: rest, weight: part.weight - weight });
        Part { batch: part.batch.slice(0, self.rows), weight }
    }

    /// As much of a part as has so many bytes of answers, or one row. The rest waits.
    fn shorten(&mut self, part: Part, bytes: u64) -> Part {
        if part.weight <= bytes {
            return part;
        }
        let mut parts = part.cut(self.rows, bytes.max(1)).into_iter();
        let Some(first) = parts.next() else { return part };
        parts.rev().for_each(|part| self.waiting.push_front(part));
        first
    }
}

impl Part {
    /// In parts of so many rows and so many bytes of answers.
    fn cut(&self, rows: usize, bytes: u64) -> Vec<Self> {
        let Self { batch, weight } = self;
        let parts = usize::try_from(weight.div_ceil(bytes)).unwrap_or(usize::MAX).max(1);
        let rows = batch.num_rows().div_ceil(parts).clamp(1, rows);
        let weight = weight / batch.num_rows().div_ceil(rows).max(1) as u64;
        let starts = (0..batch.num_rows()).step_by(rows);
        let part = |start: usize| batch.slice(start, rows.min(batch.num_rows() - start));
        starts.map(|start| Self { batch: part(start), weight }).collect()
    }
}

impl Weight {
    fn of(&self, batch: &RecordBatch) -> u64 {
        let rows = batch.num_rows() as u64;
        let elements = self.keys.and_then(|column| elements(batch.column(column)));
        let bytes = self.bytes.saturating_mul(self.rows.load(Ordering::Relaxed));
        elements.unwrap_or(rows).saturating_mul(bytes)
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

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{FutureExt, stream::BoxStream};
    use keyloom_common::memory::MemoryBudget;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(mebibytes: u64) -> MemoryBudget {
        MemoryBudget::new("lookup.memory_bytes", mebibytes * MIB)
    }

    /// The windows of batches of so many rows, each of which has answers of a mebibyte.
    fn over(
        rows: &[i64],
        settings: &LookupSettings,
        memory: &MemoryBudget,
    ) -> BoxStream<'static, Result<Window>> {
        over_first(rows, settings, memory, None)
    }

    /// The same where so many rows are likely to be enough.
    fn over_first(
        rows: &[i64],
        settings: &LookupSettings,
        memory: &MemoryBudget,
        first_rows: Option<usize>,
    ) -> BoxStream<'static, Result<Window>> {
        let batch = |rows: &i64| {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..*rows));
            RecordBatch::try_from_iter([("id", ids)]).unwrap()
        };
        let batches: Vec<_> = rows.iter().map(batch).collect();
        let schema = batches[0].schema();
        let batches = stream::iter(batches.into_iter().map(Ok));
        let input = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
        let weights = vec![Weight { keys: None, bytes: MIB, rows: Arc::new(AtomicU64::new(1)) }];
        windows(input, weights, settings, Rooms::new(memory.clone()), first_rows).boxed()
    }

    /// The rows of each batch of the next window, if it need not be waited for.
    fn next(windows: &mut BoxStream<'static, Result<Window>>) -> Option<(Vec<usize>, Window)> {
        let window = windows.next().now_or_never()??.unwrap();
        Some((window.batches.iter().map(RecordBatch::num_rows).collect(), window))
    }

    fn all(mut windows: BoxStream<'static, Result<Window>>) -> Vec<Vec<usize>> {
        std::iter::from_fn(|| next(&mut windows)).map(|(rows, _)| rows).collect()
    }

    #[test]
    fn windows_are_bounded_by_rows_and_by_their_answers() {
        let usual = LookupSettings::default();
        let (memory, input) = (memory(1 << 10), [10, 1, 0, 2]);
        assert_eq!(all(over(&input, &usual, &memory)), [vec![10, 1, 2]]);
        let few_rows = LookupSettings { window_rows: 4, ..usual.clone() };
        let cut = [vec![4], vec![4], vec![2, 1], vec![2]];
        assert_eq!(all(over(&input, &few_rows, &memory)), cut);
        let few_bytes = LookupSettings { window_bytes: 4 * MIB, ..usual };
        let cut = [vec![4], vec![4], vec![2], vec![1, 2]];
        assert_eq!(all(over(&input, &few_bytes, &memory)), cut);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn with_little_memory_windows_are_small() {
        let (usual, memory) = (LookupSettings::default(), memory(64));
        assert_eq!(all(over(&[10, 2], &usual, &memory)), [vec![4], vec![4], vec![2], vec![2]]);
        let _others = memory.try_take(58 * MIB).unwrap();
        let mut windows = over(&[2, 2], &usual, &memory);
        let (rows, first) = next(&mut windows).unwrap();
        assert_eq!((rows, memory.used()), (vec![2], 62 * MIB));
        assert!(next(&mut windows).is_none(), "there is room for one");
        drop(first);
        assert_eq!(all(windows), [vec![2]]);
    }

    #[test]
    fn a_lookup_that_finds_no_memory_has_a_row_in_any_case() {
        let (usual, memory) = (LookupSettings::default(), memory(64));
        let _others = memory.try_take(64 * MIB).unwrap();
        assert_eq!(all(over(&[3], &usual, &memory)), [vec![1], vec![1], vec![1]]);
        assert_eq!(memory.used(), 64 * MIB);
    }

    #[test]
    fn windows_grow_from_the_rows_that_are_likely_to_be_enough() {
        let (usual, memory) = (LookupSettings::default(), memory(1024));
        let windows = over_first(&[3, 20, 5], &usual, &memory, Some(2));
        assert_eq!(all(windows), [vec![2], vec![1], vec![20, 5]]);
        let few_rows = LookupSettings { window_rows: 4, ..usual.clone() };
        let windows = over_first(&[10], &few_rows, &memory, Some(1));
        assert_eq!(all(windows), [vec![1], vec![3], vec![4], vec![2]]);
        assert_eq!(all(over_first(&[5], &usual, &memory, Some(9))), [vec![5]]);
    }
}
