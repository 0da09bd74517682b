//! Batches in parts: in front of rows whose keys have too many rows for one fetch, and where lists
//! of such rows are long, of which others make a row each.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use keyloom_common::Result;

/// Takes the rows behind so many off, with as many of their columns as came in. Of a batch that is
/// cut in its middle, all rows stay, too: how many of them are before the cut.
pub(super) fn cut_behind(
    batches: &mut Vec<RecordBatch>,
    rows: usize,
    columns: usize,
) -> Result<(Vec<RecordBatch>, Option<usize>)> {
    let (mut whole, mut left) = (0, rows);
    while let Some(batch) = batches.get(whole)
        && batch.num_rows() <= left
    {
        left -= batch.num_rows();
        whole += 1;
    }
    let as_they_came: Vec<usize> = (0..columns).collect();
    let behind = batches[whole..].iter().map(|batch| batch.project(&as_they_came));
    let mut behind = behind.collect::<Result<Vec<_>, _>>()?;
    let is_within = left > 0;
    batches.truncate(whole + usize::from(is_within));
    if let Some(first) = behind.first_mut().filter(|_| is_within) {
        *first = first.slice(left, first.num_rows() - left);
    }
    Ok((behind, is_within.then_some(left)))
}

/// A batch in parts, in each of which the lists of these columns have so many elements at most, or
/// there is one row.
pub(super) fn pieces(batch: &RecordBatch, lists: &[usize], most: usize) -> Vec<RecordBatch> {
    ranges(batch, lists, most).map(|rows| batch.slice(rows.start, rows.len())).collect()
}

fn ranges(
    batch: &RecordBatch,
    lists: &[usize],
    most: usize,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let offsets = lists.iter().filter_map(|column| batch.column(*column).as_list_opt::<i32>());
    let offsets: Vec<_> = offsets.map(|lists| lists.offsets().clone()).collect();
    let rows = batch.num_rows();
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= rows {
            return None;
        }
        let fits = |end: &usize| {
            let elements = offsets.iter().map(|of| of[*end].abs_diff(of[start]) as usize);
            elements.max().unwrap_or(0) <= most
        };
        let end = (start + 2..=rows).take_while(fits).last().unwrap_or(start + 1);
        let range = start..end;
        start = end;
        Some(range)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array, ListArray},
        datatypes::Int64Type,
    };

    use super::*;

    /// Numbers from here on, beside lists with so many elements.
    fn batch(first: i64, lists: &[usize]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((first..).take(lists.len())));
        let lists = lists.iter().map(|len| Some(vec![Some(7); *len]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        RecordBatch::try_from_iter([("number", numbers), ("list", lists)]).unwrap()
    }

    fn numbers(batch: &RecordBatch) -> Vec<i64> {
        batch.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn long_lists_leave_in_batches_of_their_own() {
        let check = |lists: &[usize], expected: &[usize]| {
            let parts = pieces(&batch(0, lists), &[1], 4);
            let rows: Vec<_> = parts.iter().map(RecordBatch::num_rows).collect();
            assert_eq!(rows, expected, "{lists:?}");
            let all: Vec<i64> = parts.iter().flat_map(numbers).collect();
            assert_eq!(all, (0..lists.len() as i64).collect::<Vec<_>>());
        };
        check(&[], &[]);
        check(&[1, 1, 1], &[3]);
        check(&[4, 0, 0, 1], &[3, 1]);
        check(&[9, 9, 1], &[1, 1, 1]);
        check(&[2, 2, 2, 9], &[2, 1, 1]);
    }

    #[test]
    fn rows_behind_a_cut_come_as_they_came_in() {
        let all = || vec![batch(0, &[1, 1]), batch(2, &[1, 1, 1]), batch(5, &[1])];
        let check = |rows, stay: &[usize], of_last, behind: &[&[i64]]| {
            let mut batches = all();
            let (rest, last) = cut_behind(&mut batches, rows, 1).unwrap();
            let stayed: Vec<_> = batches.iter().map(RecordBatch::num_rows).collect();
            assert_eq!((stayed.as_slice(), last), (stay, of_last), "{rows}");
            assert_eq!(rest.iter().map(numbers).collect::<Vec<_>>(), behind);
            assert!(rest.iter().all(|batch| batch.num_columns() == 1));
        };
        check(1, &[2], Some(1), &[&[1], &[2, 3, 4], &[5]]);
        check(2, &[2], None, &[&[2, 3, 4], &[5]]);
        check(4, &[2, 3], Some(2), &[&[4], &[5]]);
        check(6, &[2, 3, 1], None, &[]);
    }
}
