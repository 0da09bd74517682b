//! The values of all rows that a job asks for, read at once: of each block the wanted ones are
//! copied out, and it is dropped. Memory by the job, where blocks that are kept would take that of
//! the column.

use std::sync::Arc;

use futures::future::try_join_all;
use keyloom_common::{Result, store::RowPath};

use super::{
    blocks::{Blocks, Touched, are_small, values_together},
    one_piece::in_one_piece,
};
use crate::store::{
    Place, ReadStats, Values,
    kept::Kept,
    lance::{
        column::Column, handle::LanceHandle, layout::Layout, name::LearnedName, row::Row, tasks,
    },
    value_bytes,
};

/// So many times the values of a job must fit into `column_cache_bytes`, or the blocks are kept
/// there as usual.
const SHARES_OF_CACHE: u64 = 4;

/// Some columns of the rows of a set of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::store::lance) struct KnownName {
    pub(in crate::store::lance) keys: LearnedName,
    pub(in crate::store::lance) columns: Vec<String>,
}

/// The values of some columns at some rows. Where they are not to be read at once, there are none,
/// so that no other task of the job finds that out again.
#[derive(Debug, Default)]
pub(in crate::store::lance) struct KnownValues {
    /// In storage order.
    rows: Vec<Row>,
    columns: Vec<(Arc<Column>, Values)>,
}

impl KnownValues {
    /// The values of columns at rows. None if any of them is not known.
    pub(in crate::store::lance) fn at(
        &self,
        columns: &[Arc<Column>],
        rows: &[Row],
    ) -> Option<Vec<Values>> {
        let known = columns.iter().map(|column| {
            let same = |(known, _): &&(Arc<Column>, Values)| Arc::ptr_eq(known, column);
            self.columns.iter().find(same).map(|(_, values)| values)
        });
        let known: Vec<&Values> = known.collect::<Option<_>>()?;
        let places = rows.iter().map(|row| self.rows.binary_search(row).ok());
        let places: Vec<usize> = places.collect::<Option<_>>()?;
        let mut answers: Vec<Values> = Vec::with_capacity(known.len());
        for (at, values) in known.iter().enumerate() {
            // Columns that share their places still do.
            let same = known[..at].iter().position(|one| Arc::ptr_eq(&one.places, &values.places));
            let places = match same {
                Some(before) => answers[before].places.clone(),
                None => places.iter().map(|place| values.places[*place]).collect(),
            };
            answers.push(Values { pieces: values.pieces.clone(), places });
        }
        Some(answers)
    }

    /// The bytes that it takes.
    fn bytes(&self) -> u64 {
        let values = |(_, values): &(Arc<Column>, Values)| {
            let places = size_of_val::<[Place]>(&values.places) as u64;
            places + values.pieces.iter().map(value_bytes).sum::<u64>()
        };
        size_of_val(self.rows.as_slice()) as u64 + self.columns.iter().map(values).sum::<u64>()
    }
}

impl LanceHandle {
    /// The values of columns at the rows of a set of keys, read at once, and what was read. None if
    /// single rows are to be taken, or the values have no room.
    ///
    /// # Errors
    /// `store` if the dataset cannot be read.
    pub(in crate::store::lance) async fn know(
        self: &Arc<Self>,
        name: &KnownName,
        columns: &[Arc<Column>],
        rows: impl FnOnce() -> Vec<Row> + Send + 'static,
        path: RowPath,
    ) -> Result<Option<(Arc<Kept<KnownValues>>, ReadStats)>> {
        if columns.is_empty() || self.spec.access.rows.unwrap_or(path) != RowPath::Scan {
            return Ok(None);
        }
        let mut stats = ReadStats::default();
        let read = self.read_known(columns, rows, &mut stats);
        let known = self.caches.known.get_or_make(name, read).await?;
        Ok((!known.rows.is_empty()).then_some((known, stats)))
    }

    /// The values of columns at rows in any order, and adds what was read. There are none where
    /// there are no rows, or is no room for values.
    ///
    /// # Errors
    /// `store` if the dataset cannot be read.
    async fn read_known(
        self: &Arc<Self>,
        columns: &[Arc<Column>],
        rows: impl FnOnce() -> Vec<Row> + Send + 'static,
        stats: &mut ReadStats,
    ) -> Result<Arc<Kept<KnownValues>>> {
        let known = &self.caches.known;
        let none = || Kept::new(KnownValues::default(), 0, known.force(0));
        let rows = tasks::run_blocking(move || in_order(rows())).await?;
        if rows.is_empty() {
            return Ok(none());
        }
        let layout = self.layout().await?;
        let blocks = columns.iter().map(|column| Blocks::passing(self, column.clone(), layout));
        let blocks: Vec<_> = try_join_all(blocks).await?.into_iter().map(Arc::new).collect();
        let row_bytes: u64 = blocks.iter().map(|blocks| blocks.widths().typical()).sum();
        let bytes = row_bytes.saturating_mul(rows.len() as u64);
        if bytes.saturating_mul(SHARES_OF_CACHE) > known.most() {
            return Ok(none());
        }
        let Some(room) = known.room(bytes) else { return Ok(none()) };
        let (values, read) = self.values(&blocks, &rows, layout).await?;
        stats.add(&read);
        let values = in_one_piece(values, rows.len()).await?;
        let columns = columns.iter().cloned().zip(values).collect();
        let known = KnownValues { rows, columns };
        let bytes = known.bytes();
        Ok(Kept::new(known, bytes, room))
    }

    /// The values at the rows, of one column after the other, unless their blocks are small.
    async fn values(
        self: &Arc<Self>,
        columns: &[Arc<Blocks>],
        rows: &[Row],
        layout: &Arc<Layout>,
    ) -> Result<(Vec<Values>, ReadStats)> {
        let (mut all, mut stats) = (Vec::with_capacity(columns.len()), ReadStats::default());
        for alike in columns.chunk_by(|one, next| one.grid() == next.grid()) {
            let Some(first) = alike.first() else { continue };
            let touched = Touched::new(first.grid(), rows);
            if are_small(alike) {
                let (values, read) = values_together(alike, self, layout, &touched).await?;
                stats.add(&read);
                all.extend(values);
                continue;
            }
            for blocks in alike {
                let (values, read) = blocks.values(self, layout, &touched).await?;
                stats.add(&read);
                all.push(values);
            }
        }
        Ok((all, stats))
    }
}

/// Rows in storage order, each of them once.
fn in_order(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_unstable();
    rows.dedup();
    rows
}
