//! The values of all rows that a job asks for, read at once: of each block the wanted ones are
//! copied out, and it is dropped. Memory by the job, where blocks that are kept would take that of
//! the column.

use std::sync::Arc;

use arrow::{array::Array, compute::concat};
use futures::future::try_join_all;
use keyloom_common::{Error, Result, store::RowPath};

use super::blocks::{Blocks, Touched};
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
        rows: impl FnOnce() -> Vec<Row> + Send + 'static,
        path: RowPath,
    ) -> Result<Option<(Arc<Kept<KnownValues>>, ReadStats)>> {
        if columns.is_empty() || self.spec.access.rows.unwrap_or(path) != RowPath::Scan {
            return Ok(None);
        }
        let mut stats = ReadStats::default();
        let read = self.read_known(columns, rows, &mut stats);
        let known = self.caches.known.get_or_make(name, read).await;
        match known {
            Ok(known) => Ok(Some((known, stats))),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// The values of columns at rows in any order, and adds what was read.
    ///
    /// # Errors
    /// `store` if the dataset cannot be read; none if there are no rows, or no room for values.
    async fn read_known(
        self: &Arc<Self>,
        columns: &[Arc<Column>],
        rows: impl FnOnce() -> Vec<Row> + Send + 'static,
        stats: &mut ReadStats,
    ) -> Result<Arc<Kept<KnownValues>>, Option<Error>> {
        let rows = tasks::run_blocking(move || in_order(rows())).await?;
        if rows.is_empty() {
            return Err(None);
        }
        let layout = self.layout().await?;
        let blocks = columns.iter().map(|column| Blocks::passing(self, column.clone(), layout));
        let blocks: Vec<_> = try_join_all(blocks).await?.into_iter().map(Arc::new).collect();
        let row_bytes: u64 = blocks.iter().map(|blocks| blocks.widths().typical()).sum();
        let bytes = row_bytes.saturating_mul(rows.len() as u64);
        let known = &self.caches.known;
        if bytes.saturating_mul(SHARES_OF_CACHE) > known.most() {
            return Err(None);
        }
        let Some(room) = known.room(bytes) else { return Err(None) };
        let (values, read) = self.values(&blocks, &rows, layout).await?;
        stats.add(&read);
        let values = in_one_piece(values, rows.len()).await;
        let columns = columns.iter().cloned().zip(values).collect();
        let known = KnownValues { rows, columns };
        let bytes = known.bytes();
        Ok(Kept::new(known, bytes, room))
    }

    /// The values at the rows, of one column after the other.
    async fn values(
        self: &Arc<Self>,
        columns: &[Arc<Blocks>],
        rows: &[Row],
        layout: &Arc<Layout>,
    ) -> Result<(Vec<Values>, ReadStats)> {
        let (mut all, mut stats) = (Vec::with_capacity(columns.len()), ReadStats::default());
        let mut touched: Option<Touched<'_>> = None;
        for blocks in columns {
            let same = touched.take().filter(|touched| touched.is_for(blocks.grid()));
            let of_column = same.unwrap_or_else(|| Touched::new(blocks.grid(), rows));
            let (values, read) = blocks.values(self, layout, &of_column).await?;
            stats.add(&read);
            all.push(values);
            touched = Some(of_column);
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

/// Columns of values at so many rows in one piece each: a request takes all pieces of a column, of
/// however few rows it asks for the values. What one array cannot hold stays in pieces.
async fn in_one_piece(columns: Vec<Values>, rows: usize) -> Vec<Values> {
    let places: Arc<[Place]> = (0..rows as u32).map(|row| Place { piece: 0, row }).collect();
    let mut all = Vec::with_capacity(columns.len());
    for values in columns {
        let (parts, places) = (values.clone(), places.clone());
        let joined = tasks::run_blocking(move || whole(&parts, places)).await;
        all.push(joined.ok().flatten().unwrap_or(values));
    }
    all
}

/// Values in one piece, where they have these places. None if they stand in another order, or are
/// too many.
fn whole(values: &Values, places: Arc<[Place]>) -> Option<Values> {
    let pieces: Vec<&dyn Array> = values.pieces.iter().map(AsRef::as_ref).collect();
    let rows: usize = pieces.iter().map(|piece| piece.len()).sum();
    let order = |place: &Place| (place.piece, place.row);
    // As many different places as there are values, in their order, are just these.
    let is_in_order = values.places.is_sorted_by(|one, next| order(one) < order(next));
    if !is_in_order || [rows, values.places.len()] != [places.len(); 2] {
        return None;
    }
    Some(Values { pieces: vec![concat(&pieces).ok()?], places })
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, DictionaryArray, Int64Array};
    use arrow::datatypes::Int8Type;

    use super::*;

    fn place(piece: u32, row: u32) -> Place {
        Place { piece, row }
    }

    fn numbers(numbers: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(numbers.to_vec()))
    }

    #[tokio::test]
    async fn values_in_order_become_one_piece_and_share_their_places() {
        let places: Arc<[Place]> = [place(0, 0), place(0, 1), place(2, 0)].into();
        let column = |first: i64| Values {
            pieces: vec![numbers(&[first, 2]), numbers(&[]), numbers(&[3])],
            places: places.clone(),
        };
        let all = in_one_piece(vec![column(1), column(7)], 3).await;
        for (values, first) in all.iter().zip([1, 7]) {
            assert_eq!(values.pieces, [numbers(&[first, 2, 3])]);
            assert_eq!(*values.places, [place(0, 0), place(0, 1), place(0, 2)]);
        }
        assert!(Arc::ptr_eq(&all[0].places, &all[1].places));
    }

    #[tokio::test]
    async fn what_is_no_array_or_in_another_order_stays_in_pieces() {
        let pieces = vec![numbers(&[1, 2]), numbers(&[3])];
        // Values that nobody asks for, one twice, another order.
        let others = [
            vec![place(0, 0), place(1, 0)],
            vec![place(0, 0), place(0, 0), place(1, 0)],
            vec![place(0, 1), place(0, 0), place(1, 0)],
        ];
        for places in others {
            let places: Arc<[Place]> = places.into();
            let values = Values { pieces: pieces.clone(), places: places.clone() };
            let all = in_one_piece(vec![values], places.len()).await;
            assert_eq!((&all[0].pieces, &all[0].places), (&pieces, &places));
        }

        // More different values than its keys can tell.
        let dictionary = |first: u32| -> ArrayRef {
            let texts: Vec<String> = (first..first + 100).map(|text| text.to_string()).collect();
            Arc::new(texts.iter().map(String::as_str).collect::<DictionaryArray<Int8Type>>())
        };
        let pieces = vec![dictionary(0), dictionary(100)];
        let places = (0..2).flat_map(|piece| (0..100).map(move |row| place(piece, row))).collect();
        let values = Values { pieces: pieces.clone(), places };
        assert_eq!(in_one_piece(vec![values], 200).await[0].pieces, pieces);
    }
}
