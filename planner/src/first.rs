//! How many rows are wanted first, where a limit ends a plan as soon as it has enough.
//!
//! A limit does not pass a condition or what is unnested, for nobody knows how many of the rows
//! below make up its own. But most often a few do, so that a lookup below begins with few.

use std::sync::Arc;

use datafusion::physical_plan::{
    ExecutionPlan,
    coalesce_partitions::CoalescePartitionsExec,
    filter::FilterExec,
    limit::{GlobalLimitExec, LocalLimitExec},
    union::UnionExec,
    unnest::UnnestExec,
};

use crate::{estimate, local::is_row_by_row};

/// The rows that are wanted of a node by what stands above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// So many at most; all if absent.
    rows: Option<usize>,
    /// Whether it may take other numbers of the node's rows to make them.
    is_sifted: bool,
}

impl Wanted {
    /// The rows that are wanted of a node's inputs.
    pub(crate) fn below(self, node: &Arc<dyn ExecutionPlan>) -> Self {
        let fewer = |fetch: Option<usize>| self.rows.into_iter().chain(fetch).min();
        if let Some(limit) = node.downcast_ref::<GlobalLimitExec>() {
            let rows = fewer(limit.fetch()).map(|rows| rows.saturating_add(limit.skip()));
            return Self { rows, is_sifted: false };
        }
        if let Some(limit) = node.downcast_ref::<LocalLimitExec>() {
            return Self { rows: fewer(Some(limit.fetch())), is_sifted: false };
        }
        if node.is::<FilterExec>() || node.is::<UnnestExec>() {
            return Self { rows: fewer(node.fetch()), is_sifted: true };
        }
        let passes =
            is_row_by_row(node) || node.is::<UnionExec>() || node.is::<CoalescePartitionsExec>();
        if passes { Self { rows: fewer(node.fetch()), ..self } } else { Self::default() }
    }

    /// How many of so many rows are expected to be read.
    pub(crate) fn of(self, rows: Option<u64>) -> Option<u64> {
        let wanted = self.rows.map(|rows| rows as u64);
        let read = if self.is_sifted { wanted.map(estimate::sifted) } else { wanted };
        rows.into_iter().chain(read).min()
    }

    /// How many rows a lookup begins with; as many as it usually does if absent.
    pub(crate) fn first_rows(self) -> Option<usize> {
        self.rows.filter(|_| self.is_sifted)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_expr::expressions::lit;

    use crate::samples::frame;

    use super::*;

    fn limit(skip: usize, fetch: Option<usize>) -> Arc<dyn ExecutionPlan> {
        Arc::new(GlobalLimitExec::new(frame(10), skip, fetch))
    }

    fn filter() -> Arc<dyn ExecutionPlan> {
        Arc::new(FilterExec::try_new(lit(true), frame(10)).unwrap())
    }

    #[test]
    fn a_lookup_below_a_condition_begins_with_the_rows_of_the_limit() {
        let wanted = Wanted::default().below(&limit(3, Some(2)));
        assert_eq!(wanted.first_rows(), None);
        assert_eq!(wanted.below(&filter()).first_rows(), Some(5));
        let fewer = wanted.below(&limit(0, Some(4)));
        assert_eq!(fewer.below(&filter()).first_rows(), Some(4));
    }

    #[test]
    fn no_more_keys_are_expected_than_make_up_the_rows_of_a_limit() {
        let wanted = Wanted::default().below(&limit(3, Some(2)));
        assert_eq!(wanted.of(Some(1000)), Some(5));
        assert_eq!(wanted.of(None), Some(5));
        assert_eq!(wanted.below(&filter()).of(Some(1000)), Some(25));
        assert_eq!(wanted.below(&filter()).of(Some(4)), Some(4));
        assert_eq!(Wanted::default().of(Some(1000)), Some(1000));
        assert_eq!(Wanted::default().of(None), None);
    }

    #[test]
    fn without_a_limit_all_rows_are_wanted() {
        let wanted = Wanted::default().below(&limit(3, None));
        assert_eq!(wanted.below(&filter()).first_rows(), None);
    }

    #[test]
    fn what_reads_all_of_its_input_wants_all() {
        let wanted = Wanted::default().below(&limit(0, Some(2))).below(&frame(10));
        assert_eq!(wanted, Wanted::default());
    }
}
