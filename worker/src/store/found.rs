//! What a store answers: which keys it holds, and where their values are.
//!
//! Values stay in the arrays that they were read into. They are copied once, by the lookup
//! operator, into the rows that asked for them.

use std::sync::Arc;

use arrow::array::ArrayRef;
use keyloom_common::{Error, Result, size::array_bytes};

/// The rows found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// For each key whether the store holds it.
    pub held: Vec<bool>,
    /// The requested columns, in the requested order.
    pub columns: Vec<Values>,
    /// What was read to find them.
    pub stats: ReadStats,
    /// For each key how many rows it has, if all were asked for and there may be several. The
    /// places are then those of the rows, key by key.
    pub counts: Option<Vec<u32>>,
    /// Whether the last keys are left out, because there are too many rows of those before: they
    /// are to be asked for again. All rows are wanted then, and at least one key is answered.
    pub is_cut: bool,
}

/// The values of one column: for each key its place.
#[derive(Clone, Debug)]
pub struct Values {
    /// Arrays of the column's type.
    pub pieces: Vec<ArrayRef>,
    /// For each key the place of its value; [`Place::NONE`] if the store does not hold the key.
    pub places: Places,
}

/// For each key its place. Columns that are stored alike share them.
type Places = Arc<[Place]>;

/// A row of one of several arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which array.
    pub piece: u32,
    /// Which of its rows.
    pub row: u32,
}

/// What a request read from the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Rows of which values were taken one by one.
    pub rows_taken: u64,
    /// Rows of which values were read in whole blocks.
    pub rows_scanned: u64,
    /// Bytes of values read, decoded.
    pub bytes: u64,
    /// Keys read to find the rows.
    pub keys_scanned: u64,
    /// Keys read again, to compare those that were found by a hash.
    pub keys_verified: u64,
    /// Blocks of columns that were needed.
    pub blocks: u64,
    /// Blocks among them that were in memory.
    pub block_hits: u64,
    /// Requests that bounds let through to the store, each as often as it was made.
    pub requests_made: u64,
    /// Requests among them that were made again.
    pub retries: u64,
    /// Keys whose answers were kept, so that nothing was asked.
    pub answer_hits: u64,
}

impl Place {
    /// No row.
    pub const NONE: Self = Self { piece: u32::MAX, row: u32::MAX };

    /// The row, unless it is none.
    pub fn get(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }

    /// The place after `pieces` more arrays were put in front.
    pub(crate) fn behind(self, pieces: u32) -> Self {
        self.get().map_or(self, |place| Self { piece: place.piece + pieces, ..place })
    }
}

impl Values {
    /// The values of keys of which the store holds none.
    pub(crate) fn none(keys: usize) -> Self {
        Self { pieces: Vec::new(), places: vec![Place::NONE; keys].into() }
    }

    /// Columns of values as those of more keys: of those that are held, in their order, these.
    /// Columns that share their places still do.
    pub(crate) fn spread(columns: Vec<Self>, held: &[bool]) -> Vec<Self> {
        let mut known: Vec<(Places, Places)> = Vec::new();
        let spread = |Self { pieces, places }| {
            let same = known.iter().find(|(before, _)| Arc::ptr_eq(before, &places));
            let spread = same.map(|(_, spread)| spread.clone()).unwrap_or_else(|| {
                let spread = spread_places(&places, held);
                known.push((places, spread.clone()));
                spread
            });
            Self { pieces, places: spread }
        };
        columns.into_iter().map(spread).collect()
    }
}

fn spread_places(places: &Places, held: &[bool]) -> Places {
    if places.len() == held.len() {
        return places.clone();
    }
    let mut places = places.iter().copied();
    let place = |held: &bool| if *held { places.next() } else { None };
    held.iter().map(place).map(|place| place.unwrap_or(Place::NONE)).collect()
}

impl Found {
    /// Makes sure that the answer is whole: so many columns, each with a place for each key.
    ///
    /// # Errors
    /// `internal` if it is not.
    pub(crate) fn check(&self, columns: usize) -> Result<()> {
        if self.columns.len() != columns {
            let given = self.columns.len();
            return Err(Error::internal(format!("a store answered {given} of {columns} columns")));
        }
        let rows = self.rows();
        match self.columns.iter().map(|values| values.places.len()).find(|places| *places != rows) {
            None => Ok(()),
            Some(places) => Err(Error::internal(format!(
                "a store answered {places} places of a column for {rows} keys"
            ))),
        }
    }

    /// How many places each column has.
    pub(crate) fn rows(&self) -> usize {
        match &self.counts {
            Some(counts) => counts.iter().map(|count| *count as usize).sum(),
            None => self.held.len(),
        }
    }

    /// Where the rows of each key start among the places, and where the last ones end, if keys may
    /// have several.
    pub(crate) fn starts(&self) -> Option<Vec<usize>> {
        let mut end = 0;
        let ends = self.counts.as_ref()?.iter().map(|count| {
            end += *count as usize;
            end
        });
        Some(std::iter::once(0).chain(ends).collect())
    }

    /// The answer to several requests for the same columns as the answer to one.
    ///
    /// # Errors
    /// `resource_exhausted` if there are too many arrays to be counted, `internal` if an answer is
    /// not whole.
    pub fn concat(mut answers: Vec<Self>, columns: usize) -> Result<Self> {
        answers.iter().try_for_each(|answer| answer.check(columns))?;
        if answers.len() == 1 {
            return Ok(answers.swap_remove(0));
        }
        // Behind keys that are left out, none is answered.
        let whole = answers.iter().take_while(|answer| !answer.is_cut).count();
        let is_cut = whole < answers.len();
        answers.truncate(whole + usize::from(is_cut));
        // All are answers of one store to one question: there are several rows of keys in each.
        let counts = answers.iter().map(|answer| answer.counts.as_deref());
        let counts = counts.collect::<Option<Vec<_>>>().map(|counts| counts.concat());
        let mut all = Self { counts, is_cut, ..Self::default() };
        let mut joined = vec![(Vec::new(), Vec::new()); columns];
        for answer in answers {
            all.held.extend(answer.held);
            all.stats.add(&answer.stats);
            for ((pieces, places), values) in joined.iter_mut().zip(answer.columns) {
                let before = u32::try_from(pieces.len())
                    .map_err(|_| Error::resource_exhausted("too many pieces of values"))?;
                places.extend(values.places.iter().map(|place| place.behind(before)));
                pieces.extend(values.pieces);
            }
        }
        let values = joined.into_iter();
        all.columns =
            values.map(|(pieces, places)| Values { pieces, places: places.into() }).collect();
        Ok(all)
    }
}

impl ReadStats {
    /// Adds what another request read.
    pub fn add(&mut self, other: &Self) {
        self.rows_taken += other.rows_taken;
        self.rows_scanned += other.rows_scanned;
        self.bytes += other.bytes;
        self.keys_scanned += other.keys_scanned;
        self.keys_verified += other.keys_verified;
        self.blocks += other.blocks;
        self.block_hits += other.block_hits;
        self.requests_made += other.requests_made;
        self.retries += other.retries;
        self.answer_hits += other.answer_hits;
    }
}

/// The bytes of an array's values.
pub(crate) fn value_bytes(array: &ArrayRef) -> u64 {
    array_bytes(array) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    /// An answer for keys with so many rows each, whose values are in one array.
    fn found(counts: &[u32]) -> Found {
        let rows = counts.iter().sum::<u32>();
        let pieces: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from_iter_values(0..i64::from(rows)))];
        let places = (0..rows).map(|row| Place { piece: 0, row }).collect();
        Found {
            held: counts.iter().map(|count| *count > 0).collect(),
            columns: vec![Values { pieces, places }],
            counts: Some(counts.to_vec()),
            ..Found::default()
        }
    }

    #[test]
    fn answers_of_several_rows_a_key_are_joined_key_by_key() {
        let all = Found::concat(vec![found(&[2, 0]), found(&[1, 3])], 1).unwrap();
        assert_eq!(all.held, [true, false, true, true]);
        assert_eq!(all.starts(), Some(vec![0, 2, 2, 3, 6]));
        let places: Vec<_> = all.columns[0].places.iter().map(|at| (at.piece, at.row)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn no_key_is_answered_behind_those_that_are_left_out() {
        let cut = Found { is_cut: true, ..found(&[3]) };
        let all = Found::concat(vec![found(&[2, 0]), cut, found(&[1, 3])], 1).unwrap();
        assert!(all.is_cut);
        assert_eq!((all.held.as_slice(), all.rows()), (&[true, false, true][..], 5));
        let whole = Found::concat(vec![found(&[2]), found(&[1])], 1).unwrap();
        assert!(!whole.is_cut);
    }

    #[test]
    fn an_answer_has_a_place_for_each_row() {
        assert!(found(&[2, 1]).check(1).is_ok());
        let short = Found { counts: Some(vec![2, 2]), ..found(&[2, 1]) };
        let error = short.check(1).unwrap_err();
        assert_eq!(error.message(), "a store answered 3 places of a column for 4 keys");
    }
}
