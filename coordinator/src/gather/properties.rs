//! What is known of rows that come part by part.

use std::sync::Arc;

use datafusion::{
    physical_expr::EquivalenceProperties,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties},
};

/// What is known of all parts together: nothing of their order, but which columns are equal and
/// which have one value. Operators above were planned to rest on that: sorted by one of two equal
/// columns, rows count as sorted by the other.
pub(super) fn without_order(parts: &Arc<dyn ExecutionPlan>) -> EquivalenceProperties {
    let mut known = parts.equivalence_properties().clone();
    known.clear_orderings();
    known.clear_per_partition_constants();
    known
}
