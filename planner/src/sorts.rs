//! Sorts, as DataFusion plans them but for three mistakes.
//!
//! It counts on [what nobody knows where shuffled rows arrive](forget). And where it sorts several
//! partitions apart instead of their rows together, it looks for what gathers these below, and
//! takes some away that operators between need: that of the left side of a join, if the right side
//! is gathered, and that of a window by what is the same in all rows, which needs no sort.
//! And it takes the order that such a window needs for one that says more than any other, and drops
//! the sort of what is right above it.

mod forget;

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_expr::{LexOrdering, OrderingRequirements},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        Distribution, ExecutionPlan, ExecutionPlanProperties,
        coalesce_partitions::CoalescePartitionsExec, sorts::sort::SortExec,
    },
};

use forget::{forget, recall};

type Plan = Arc<dyn ExecutionPlan>;

/// DataFusion's rule that plans sorts, with its mistakes mended.
#[derive(Debug)]
pub(crate) struct PlanSorts(pub(crate) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for PlanSorts {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let forgotten = plan.transform_up(forget).data()?;
        let sorted = self.0.optimize(forgotten, config)?;
        let mended = |node| gather(node)?.transform_data(sort);
        sorted.transform_up(recall).data()?.transform_up(mended).data()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// The node with those of its inputs gathered that it needs so, and are not.
fn gather(node: Plan) -> Result<Transformed<Plan>> {
    let needed = node.required_input_distribution();
    let is_alone = needed.len() == 1;
    let inputs = node.children().into_iter().zip(&needed);
    let apart: Vec<bool> =
        inputs.map(|(input, needed)| is_apart(input, needed, is_alone)).collect();
    if !apart.contains(&true) {
        return Ok(Transformed::no(node));
    }
    let inputs = node.children().into_iter().zip(apart).map(|(input, is_apart)| -> Plan {
        let input = Arc::clone(input);
        if is_apart { Arc::new(CoalescePartitionsExec::new(input)) } else { input }
    });
    let inputs = inputs.collect();
    node.with_new_children(inputs).map(Transformed::yes)
}

/// Whether an input has several partitions where one is needed; or one will do, as for what is
/// needed by its hash, unless another input comes by its hash, too. What is sorted apart is merged
/// by DataFusion.
fn is_apart(input: &Plan, needed: &Distribution, is_alone: bool) -> bool {
    let partitioning = input.output_partitioning();
    match needed {
        Distribution::SinglePartition => partitioning.partition_count() > 1,
        Distribution::HashPartitioned(_) if is_alone && input.output_ordering().is_none() => {
            let known = input.equivalence_properties();
            !partitioning.satisfaction(needed, known, true).is_satisfied()
        }
        _ => false,
    }
}

/// The node with those of its inputs sorted that it needs so, and are not.
fn sort(node: Plan) -> Result<Transformed<Plan>> {
    let needed = node.required_input_ordering();
    let inputs = node.children().into_iter().zip(&needed);
    let sorted = inputs.map(|(input, needed)| match needed {
        Some(needed) => sorted_as(input, needed),
        None => Ok(None),
    });
    let sorted: Vec<Option<Plan>> = sorted.collect::<Result<_>>()?;
    if sorted.iter().all(Option::is_none) {
        return Ok(Transformed::no(node));
    }
    let inputs = node.children().into_iter().zip(sorted);
    let inputs = inputs.map(|(input, sorted)| sorted.unwrap_or_else(|| Arc::clone(input)));
    let inputs = inputs.collect();
    node.with_new_children(inputs).map(Transformed::yes)
}

/// An input in the order that is needed, unless it comes in that.
fn sorted_as(input: &Plan, needed: &OrderingRequirements) -> Result<Option<Plan>> {
    let needed = needed.first();
    if input.equivalence_properties().ordering_satisfy_requirement(needed.clone())? {
        return Ok(None);
    }
    let is_apart = input.output_partitioning().partition_count() > 1;
    let order = LexOrdering::from(needed.clone());
    let sorted = SortExec::new(order, Arc::clone(input)).with_preserve_partitioning(is_apart);
    Ok(Some(Arc::new(sorted)))
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
