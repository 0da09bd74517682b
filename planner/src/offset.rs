//! Keeping the order that a limit counts in, and that rows have.
//!
//! DataFusion drops sorts whose order nothing requires. A limit requires none: it keeps only the
//! sort that stands directly below it, or that takes over its number of rows. An OFFSET whose sort
//! is by a column that is not selected has a projection between the two. Nor does DataFusion know
//! that the rows of unions and of lists that are unnested follow those of their inputs.

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
        union::UnionExec,
        unnest::UnnestExec,
    },
};

/// Requires the order of sorts below limits, unions and what unnests lists, until DataFusion
/// removes what requires it.
#[derive(Debug, Default)]
pub struct KeepOrder;

impl PhysicalOptimizerRule for KeepOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(keep).data()
    }

    fn name(&self) -> &'static str {
        "keep_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node with the order of its inputs required, if it counts in that or keeps it.
fn keep(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let is_limit = node.is::<GlobalLimitExec>() || node.is::<LocalLimitExec>();
    if !is_limit && !node.is::<UnionExec>() && !node.is::<UnnestExec>() {
        return Ok(Transformed::no(node));
    }
    let mut is_required = false;
    let mut inputs = Vec::new();
    for input in node.children() {
        // Directly below a limit, DataFusion keeps it.
        let required = if is_limit && input.is::<SortExec>() { None } else { require(input)? };
        is_required |= required.is_some();
        inputs.push(required.unwrap_or_else(|| Arc::clone(input)));
    }
    match is_required {
        true => node.with_new_children(inputs).map(Transformed::yes),
        false => Ok(Transformed::no(node)),
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
