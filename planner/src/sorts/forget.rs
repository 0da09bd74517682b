//! What is not known of rows that workers have sent each other, while sorts are planned.
//!
//! DataFusion sorts by no more than it must: by no column that a condition holds at one value, by
//! one of two that are equal, and not at all what comes in that order. All of that it knows across
//! a shuffle, too. But the part of a plan where rows arrive travels alone, and its windows then ask
//! for an order that nobody there knows of. So nothing is known across a shuffle while sorts are
//! planned; nor does any keep the order of its rows, which workers cannot.

use std::{fmt, sync::Arc};

use datafusion::{
    common::tree_node::Transformed,
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, repartition::RepartitionExec,
    },
};
use keyloom_common::plan::by_hash;

type Plan = Arc<dyn ExecutionPlan>;

/// A shuffle, with the node above it that knows nothing of its rows.
pub(super) fn forget(node: Plan) -> Result<Transformed<Plan>> {
    let Some(shuffle) = by_hash(&node) else { return Ok(Transformed::no(node)) };
    let (rows, partitioning) = (Arc::clone(shuffle.input()), shuffle.partitioning().clone());
    let plain = Arc::new(RepartitionExec::try_new(rows, partitioning)?);
    Ok(Transformed::yes(Arc::new(ForgetExec::new(plain))))
}

/// What such a node stands above.
pub(super) fn recall(node: Plan) -> Result<Transformed<Plan>> {
    Ok(match node.downcast_ref::<ForgetExec>() {
        Some(forget) => Transformed::yes(Arc::clone(&forget.input)),
        None => Transformed::no(node),
    })
}

/// The rows of its input, of which nothing is known but how they are partitioned. It is there while
/// sorts are planned.
#[derive(Debug)]
struct ForgetExec {
    input: Plan,
    properties: Arc<PlanProperties>,
}

impl ForgetExec {
    fn new(input: Plan) -> Self {
        let nothing = EquivalenceProperties::new(input.schema());
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(nothing);
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ForgetExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForgetExec")
    }
}

impl ExecutionPlan for ForgetExec {
    fn name(&self) -> &'static str {
        "ForgetExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Plan>) -> Result<Plan> {
        Ok(Arc::new(Self::new(children.swap_remove(0))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        physical_expr::{LexOrdering, PhysicalSortExpr},
        physical_plan::{ExecutionPlanProperties, Partitioning, sorts::sort::SortExec},
    };

    use super::*;
    use crate::{
        samples::scan,
        sorts::samples::{id, same, shuffled},
    };

    #[test]
    fn how_rows_are_partitioned_stays_known() {
        let plan = shuffled(same());
        let forgotten = forget(Arc::clone(&plan)).unwrap().data;
        assert!(forgotten.equivalence_properties().constants().is_empty());
        assert!(!plan.equivalence_properties().constants().is_empty());
        assert_eq!(forgotten.output_partitioning(), plan.output_partitioning());
        let recalled = recall(forgotten).unwrap().data;
        assert!(by_hash(&recalled).is_some());
        assert!(!forget(same()).unwrap().transformed);
    }

    #[test]
    fn a_shuffle_keeps_no_order() {
        let by_id = LexOrdering::new([PhysicalSortExpr::new_default(id())]).unwrap();
        let sorted = SortExec::new(by_id, scan(2)).with_preserve_partitioning(true);
        let by = Partitioning::Hash(vec![id()], 3);
        let ordered = RepartitionExec::try_new(Arc::new(sorted), by).unwrap().with_preserve_order();
        assert!(ordered.preserve_order());
        let plain = recall(forget(Arc::new(ordered)).unwrap().data).unwrap().data;
        assert!(!by_hash(&plain).unwrap().preserve_order());
    }
}
