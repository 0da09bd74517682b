//! The values of all rows that a job asks for, read at once: of each block the wanted ones are copied
//! out, and it is dropped. Memory by the job, where blocks that are kept would take that of the column.

use std::sync::Arc;

use futures::future::try_join_all;
use keyloom_common::{Result, store::RowPath};

use super::blocks::{Blocks, Touched};
use crate::store::{
    Fetched, Place, Values,
    kept::Kept,
    lance::{
        column::Column, handle::LanceHandle, keys::learned::LearnedName, layout::Layout, row::Row,
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

/// The values of some columns at some rows.
#[derive(Debug)]
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
        rows: impl FnOnce() -> Vec<Row>,
        path: RowPath,
    ) -> Result<Option<(Arc<Kept<KnownValues>>, Fetched)>> {
        if columns.is_empty() || self.spec.access.rows.unwrap_or(path) != RowPath::Scan {
            return Ok(None);
        }
        let known = &self.caches.known;
        let mut fetched = Fetched::default();
        if let Some(known) = known.get(name) {
            return Ok(Some((known, fetched)));
        }
        let mut rows = rows();
        rows.sort_unstable();
        rows.dedup();
        let layout = self.layout().await?;
        let blocks = columns.iter().map(|column| Blocks::passing(self, column.clone(), layout));
        let blocks: Vec<_> = try_join_all(blocks).await?.into_iter().map(Arc::new).collect();
        let row_bytes: u64 = blocks.iter().map(|blocks| blocks.widths().typical()).sum();
        let bytes = row_bytes.saturating_mul(rows.len() as u64);
        if bytes.saturating_mul(SHARES_OF_CACHE) > known.most() {
            return Ok(None);
        }
        let Some(room) = known.room(bytes) else { return Ok(None) };
        let make = async {
            let (values, read) = self.values(&blocks, &rows, layout).await?;
            fetched = read;
            let columns = columns.iter().cloned().zip(values).collect();
            let known = KnownValues { rows, columns };
            let bytes = known.bytes();
            Ok(Kept::new(known, bytes, room))
        };
        let known = known.get_or_make(name, make).await?;
        Ok(Some((known, fetched)))
    }

    /// The values at the rows, of one column after the other.
    async fn values(
        self: &Arc<Self>,
        columns: &[Arc<Blocks>],
        rows: &[Row],
        layout: &Arc<Layout>,
    ) -> Result<(Vec<Values>, Fetched)> {
        let (mut all, mut fetched) = (Vec::with_capacity(columns.len()), Fetched::default());
        let mut touched: Option<Touched<'_>> = None;
        for blocks in columns {
            let same = touched.take().filter(|touched| touched.is_for(blocks.grid()));
            let of_column = same.unwrap_or_else(|| Touched::new(blocks.grid(), rows));
            let (values, read) = blocks.values(self, layout, &of_column).await?;
            fetched.add(&read);
            all.push(values);
            touched = Some(of_column);
        }
        Ok((all, fetched))
    }
}
