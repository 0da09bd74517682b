//! Keeping the order that a limit counts in.
//!
//! DataFusion drops sorts whose order nothing requires. A limit requires none: it keeps only the
//! sort that stands directly below it, or that takes over its number of rows. An OFFSET whose sort
//! is by a column that is not selected has a projection between the two.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_expr_common::sort_expr::OrderingRequirements,
    physical_optimizer::{PhysicalOptimizerRule, output_requirements::OutputRequirementExec},
    physical_plan::{
        ExecutionPlan,
        limit::{GlobalLimitExec, LocalLimitExec},
        sorts::sort::SortExec,
    },
};

/// Requires the order of sorts below limits, until DataFusion removes what requires it.
#[derive(Debug, Default)]
pub struct KeepOrder;

impl PhysicalOptimizerRule for KeepOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let below_limits = |node: Arc<dyn ExecutionPlan>| {
            if !node.is::<GlobalLimitExec>() && !node.is::<LocalLimitExec>() {
                return Ok(Transformed::no(node));
            }
            let input = Arc::clone(node.children()[0]);
            // Directly below, DataFusion keeps it.
            if input.is::<SortExec>() {
                return Ok(Transformed::no(node));
            }
            match require(&input)? {
                Some(input) => node.with_new_children(vec![input]).map(Transformed::yes),
                None => Ok(Transformed::no(node)),
            }
        };
        plan.transform_up(below_limits).data()
    }

    fn name(&self) -> &'static str {
        "keep_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan with its order required, if it has the order of a sort.
fn require(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let order = OrderingRequirements::from(sort.expr().clone());
        let distribution = sort.required_input_distribution().swap_remove(0);
        let fetch = sort.fetch();
        let sort = Arc::clone(plan);
        let required = OutputRequirementExec::new(sort, Some(order), distribution, fetch);
        return Ok(Some(Arc::new(required)));
    }
    let children = plan.children();
    let ([input], [true]) = (children.as_slice(), plan.maintains_input_order().as_slice()) else {
        return Ok(None);
    };
    match require(input)? {
        Some(input) => Arc::clone(plan).with_new_children(vec![input]).map(Some),
        None => Ok(None),
    }
}
