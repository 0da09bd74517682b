//! How wide the values of a column are: known by their type, or else learned fragment by fragment
//! from the pages of its files.
//!
//! A column may be narrow in one fragment and wide in the next, as one is that was added later, and
//! in the midst of a fragment, too. Whatever is read is cut by what its own rows are expected to
//! weigh, so that no read brings far more than it should.

mod meter;
mod pages;
mod sample;

use std::{ops::Range, sync::Arc};

use arrow::datatypes::DataType;
use futures::FutureExt;
use keyloom_common::Result;

pub(super) use self::meter::Meter;
use self::pages::Part;
use crate::store::lance::{
    column::{Column, fixed_width},
    files::blobs,
    handle::LanceHandle,
    layout::Layout,
    tasks,
};

/// Files of which the ends are read while one read of values would be in flight: they are small.
const ENDS_A_READ: usize = 8;

/// What the values of a column weigh, by the places of fragments.
#[derive(Debug)]
pub(in crate::store::lance) struct Widths {
    fragments: Vec<Width>,
    total: u64,
    mean: u64,
}

/// What the values of a column in a fragment weigh.
#[derive(Clone, Debug)]
pub(super) enum Width {
    /// Each has so many bytes.
    Fixed(u64),
    Varying(Arc<Varying>),
}

/// About what values weigh that differ.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store::lance) struct Varying {
    /// Rows, and the bytes of the values before them, both growing, from row 0 on. Values between
    /// two of these rows are taken to be alike.
    points: Vec<(u32, u64)>,
}

impl Widths {
    /// Of a column: by its type, or from its files.
    ///
    /// # Errors
    /// `store` if the files cannot be read.
    pub(in crate::store::lance) async fn of(
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        column: &Arc<Column>,
    ) -> Result<Self> {
        if let Some(width) = fixed_width(&column.field().data_type()) {
            return Ok(Self::fixed(width, layout));
        }
        let fragments = 0..layout.len();
        Ok(Self::varying(Varying::of_all(handle, layout, column, fragments).await?))
    }

    /// As [`Self::typical`], where nothing but these fragments matters.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(in crate::store::lance) async fn typical_of(
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        column: &Arc<Column>,
        fragments: Range<usize>,
    ) -> Result<u64> {
        if let Some(width) = fixed_width(&column.field().data_type()) {
            return Ok(width);
        }
        let varying = Varying::of_all(handle, layout, column, fragments).await?;
        Ok(Self::varying(varying).typical())
    }

    fn fixed(width: u64, layout: &Layout) -> Self {
        let rows: u64 = layout.physical_rows().map(u64::from).sum();
        let fragments = vec![Width::Fixed(width); layout.len()];
        Self { fragments, total: rows.saturating_mul(width), mean: width }
    }

    fn varying(fragments: Vec<Arc<Varying>>) -> Self {
        let rows: u64 = fragments.iter().map(|fragment| u64::from(fragment.end().0)).sum();
        let totals = fragments.iter().map(|fragment| fragment.end().1);
        let total = totals.fold(0, u64::saturating_add);
        let mean = total.div_ceil(rows.max(1)).max(1);
        Self { fragments: fragments.into_iter().map(Width::Varying).collect(), total, mean }
    }

    /// The bytes of all values, at least one.
    pub(super) fn total(&self) -> u64 {
        self.total.max(1)
    }

    /// The bytes of an average value.
    pub(in crate::store::lance) fn mean(&self) -> u64 {
        self.mean
    }

    /// What a value has beside which most bytes stand: what is to hold any rows of a column must
    /// have room for those where it is wide, be there few of them or many.
    pub(in crate::store::lance) fn typical(&self) -> u64 {
        let (mut bytes, mut weighed) = (0_u128, 0_u128);
        for width in &self.fragments {
            match width {
                Width::Fixed(width) => return *width,
                Width::Varying(varying) => {
                    for (rows, part) in varying.parts() {
                        bytes += u128::from(part);
                        weighed += u128::from(part) * u128::from(part) / u128::from(rows.max(1));
                    }
                }
            }
        }
        u64::try_from(weighed / bytes.max(1)).unwrap_or(u64::MAX).max(1)
    }

    /// Those of a fragment.
    pub(super) fn of_fragment(&self, fragment: usize) -> &Width {
        &self.fragments[fragment]
    }

    /// For each fragment the rows of blocks, of `bytes` each and of at most so many rows.
    pub(super) fn block_rows(&self, bytes: u64, most: u32) -> Vec<u32> {
        let rows = |width: &Width| match width {
            Width::Fixed(width) => (bytes / (*width).max(1)).clamp(1, most.into()) as u32,
            Width::Varying(varying) => varying.block_rows(bytes, most),
        };
        self.fragments.iter().map(rows).collect()
    }
}

impl Width {
    /// About the bytes of consecutive values.
    pub(in crate::store::lance) fn bytes(&self, rows: Range<u32>) -> u64 {
        match self {
            Self::Fixed(width) => width.saturating_mul(rows.len() as u64),
            Self::Varying(varying) => varying.bytes(rows),
        }
    }
}

impl Varying {
    async fn of_all(
        handle: &Arc<LanceHandle>,
        layout: &Arc<Layout>,
        column: &Arc<Column>,
        fragments: Range<usize>,
    ) -> Result<Vec<Arc<Self>>> {
        let futures = fragments.map(|fragment| {
            let (handle, layout, column) = (handle.clone(), layout.clone(), column.clone());
            async move { Self::of(&handle, &layout, &column, fragment).await }.boxed()
        });
        let futures: Vec<_> = futures.collect();
        let in_flight = handle.settings.reads_in_flight.saturating_mul(ENDS_A_READ);
        tasks::run_all(futures, in_flight).await
    }

    async fn of(
        handle: &Arc<LanceHandle>,
        layout: &Layout,
        column: &Column,
        fragment: usize,
    ) -> Result<Arc<Self>> {
        let name = &column.in_fragments(handle, layout)[fragment];
        let learn = async { Self::learn(handle, layout, column, fragment).await.map(Arc::new) };
        handle.caches.widths.get_or_insert_async(name, learn).await
    }

    async fn learn(
        handle: &LanceHandle,
        layout: &Layout,
        column: &Column,
        fragment: usize,
    ) -> Result<Self> {
        let (id, rows) = (layout.id(fragment), layout.physical(fragment));
        if rows == 0 {
            return Ok(Self::of_parts([]));
        }
        if blobs::has_described(&handle.dataset, column.field()) {
            if !pages::is_held(handle, column, id) {
                return Ok(Self::of_parts([(rows, 0)]));
            }
            let fragment = handle.fragment(id)?;
            let sizes = blobs::sizes(&fragment, column.field(), rows);
            let sizes = handle.watch.read(sizes).await?;
            let mut start = 0;
            return Ok(Self::of_parts(sizes.into_iter().map(|(end, sizes)| {
                let rows = end - std::mem::replace(&mut start, end);
                (end, sizes.value.saturating_mul(rows.into()))
            })));
        }
        let known = pages::parts(handle, column, id, rows).await?;
        let mut parts = known.unwrap_or_else(|| Part::unknown(rows));
        sample::weigh(handle, layout, column, fragment, &mut parts).await?;
        let least = least_width(&column.field().data_type());
        let mut start = 0;
        Ok(Self::of_parts(parts.into_iter().map(|part| {
            let rows = part.end - std::mem::replace(&mut start, part.end);
            (part.end, part.bytes.max(least.saturating_mul(rows.into())))
        })))
    }

    /// Of parts, by their ends and their bytes.
    pub(super) fn of_parts(parts: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut points = vec![(0, 0_u64)];
        let mut before = 0_u64;
        for (end, bytes) in parts {
            before = before.saturating_add(bytes);
            points.push((end, before));
        }
        Self { points }
    }

    /// The rows, and their bytes.
    fn end(&self) -> (u32, u64) {
        self.points.last().copied().unwrap_or_default()
    }

    /// The rows and the bytes of each part.
    fn parts(&self) -> impl Iterator<Item = (u32, u64)> {
        let both = self.points.iter().zip(self.points.iter().skip(1));
        both.map(|(start, end)| (end.0 - start.0, end.1 - start.1))
    }

    fn bytes(&self, rows: Range<u32>) -> u64 {
        self.before(rows.end).saturating_sub(self.before(rows.start))
    }

    /// The bytes of the values before a row.
    fn before(&self, row: u32) -> u64 {
        let after = self.points.partition_point(|(other, _)| *other <= row);
        let (start, before) = self.points[after.saturating_sub(1)];
        match self.points.get(after) {
            Some((end, all)) => before + share(all - before, row - start, end - start),
            None => before,
        }
    }

    /// The rows of blocks that have about `bytes` each where values are alike, and nowhere more
    /// than twice as many.
    fn block_rows(&self, bytes: u64, most: u32) -> u32 {
        let (rows, all) = self.end();
        let mut block = share(bytes, rows, all.max(1)).clamp(1, most.into()) as u32;
        while block > 1 && self.is_heavier(block, bytes.saturating_mul(2)) {
            block = block.div_ceil(2);
        }
        block
    }

    /// Whether any block of so many rows has more than `bytes`.
    fn is_heavier(&self, block: u32, bytes: u64) -> bool {
        let heaviest = self.parts().map(|(rows, part)| share(part, block, rows)).max();
        if heaviest.is_none_or(|heaviest| heaviest <= bytes) {
            return false;
        }
        let rows = self.end().0;
        let mut starts = (0..rows).step_by(block as usize);
        starts.any(|start| self.bytes(start..rows.min(start.saturating_add(block))) > bytes)
    }
}

/// What `rows` have of the bytes of `of` rows that are alike.
fn share(bytes: u64, rows: u32, of: impl Into<u64>) -> u64 {
    let share = u128::from(bytes) * u128::from(rows) / u128::from(of.into().max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// What each value of a type takes at least.
fn least_width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Utf8 | DataType::Binary | DataType::List(_) | DataType::Map(..) => 4,
        DataType::LargeUtf8 | DataType::LargeBinary | DataType::LargeList(_) => 8,
        DataType::Utf8View | DataType::BinaryView => 16,
        DataType::Dictionary(keys, _) => least_width(keys),
        DataType::FixedSizeList(item, size) => {
            least_width(item.data_type()).saturating_mul(*size as u64)
        }
        DataType::Struct(fields) => fields.iter().map(|field| least_width(field.data_type())).sum(),
        other => fixed_width(other).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(fragments: &[&[(u32, u64)]]) -> Widths {
        let varying = fragments.iter().map(|parts| Arc::new(Varying::of_parts(parts.to_vec())));
        Widths::varying(varying.collect())
    }

    #[test]
    fn bytes_are_spread_over_the_rows_of_a_part() {
        let varying = Varying::of_parts([(10, 0), (20, 1000), (24, 8)]);
        for (rows, bytes) in [
            (0..10, 0),
            (0..24, 1008),
            (10..11, 100),
            (9..11, 100),
            (19..21, 102),
            (22..24, 4),
            (5..5, 0),
            (20..90, 8),
        ] {
            assert_eq!(varying.bytes(rows.clone()), bytes, "{rows:?}");
        }
        assert_eq!(Varying::of_parts([]).bytes(0..3), 0);
        assert_eq!(Width::Fixed(8).bytes(3..7), 32);
    }

    #[test]
    fn blocks_are_cut_by_the_bytes_of_their_fragment() {
        // Alike, narrow, wide, wider than a block, and empty.
        let alike: &[(u32, u64)] = &[(1000, 40_000)];
        let widths = widths(&[alike, &[(1000, 0)], &[(1000, 4_000_000)], &[(10, 1 << 40)], &[]]);
        assert_eq!(widths.block_rows(4096, 500), [102, 500, 1, 1, 1]);
        assert_eq!(widths.total(), 40_000 + 4_000_000 + (1 << 40));
    }

    #[test]
    fn no_block_is_much_larger_where_a_fragment_is_wide() {
        for wide in [(900, 1000), (0, 10), (501, 502), (3, 900)] {
            let (start, end) = wide;
            let bytes = u64::from(end - start) * 1000;
            let varying = Varying::of_parts([(start, 0), (end, bytes), (1000, 0)]);
            let block = varying.block_rows(4096, 1000);
            let blocks = (0..1000).step_by(block as usize);
            let heaviest = blocks.map(|at| varying.bytes(at..1000_u32.min(at + block))).max();
            assert!(heaviest.unwrap() <= 2 * 4096, "{wide:?}: {block} rows, {heaviest:?}");
            // And none is cut finer than that needs.
            assert!(block >= 2, "{wide:?}: {block} rows");
        }
    }

    #[test]
    fn what_is_typical_is_where_the_bytes_are() {
        let late: &[(u32, u64)] = &[(1_000_000, 0)];
        let widths = widths(&[late, &[(1000, 100_000_000)]]);
        assert_eq!((widths.mean(), widths.typical()), (100, 100_000));
        assert_eq!(self::widths(&[late]).typical(), 1);
        // One large value among many is not.
        let widths = self::widths(&[&[(1_000_000, 100_000_000), (1_000_001, 100_000)]]);
        assert_eq!((widths.mean(), widths.typical()), (101, 199));
        assert_eq!(self::widths(&[]).typical(), 1);
    }

    #[test]
    fn a_value_takes_at_least_what_says_where_its_bytes_are() {
        use arrow::datatypes::Field;

        let text = Field::new("text", DataType::Utf8, true);
        let both =
            DataType::Struct(vec![text.clone(), Field::new("id", DataType::Int64, true)].into());
        for (data_type, least) in [
            (DataType::Utf8, 4),
            (DataType::LargeBinary, 8),
            (DataType::List(text.clone().into()), 4),
            (DataType::FixedSizeList(text.into(), 3), 12),
            (both, 12),
            (DataType::Dictionary(DataType::Int16.into(), DataType::Utf8.into()), 2),
            (DataType::Boolean, 1),
        ] {
            assert_eq!(least_width(&data_type), least, "{data_type}");
        }
    }
}
