//! Limits that stand where a plan that travels, or is cut, would lose them.
//!
//! A plan that travels does not carry those of joins: they are put above. The limit of a filter and
//! that above what is unnested are for workers, which end a task when it has so many rows. A
//! partition may become several tasks, so of a single one a limit stands above, too, which counts
//! the rows of all.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        coop::CooperativeExec,
        filter::FilterExec,
        joins::HashJoinExec,
        limit::{GlobalLimitExec, LocalLimitExec},
        projection::ProjectionExec,
        unnest::UnnestExec,
    },
};

type Plan = Arc<dyn ExecutionPlan>;

/// Puts the limits of hash joins above them, and has tasks end when they have the rows that are
/// wanted.
#[derive(Debug, Default)]
pub struct KeepFetch;

impl PhysicalOptimizerRule for KeepFetch {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        plan.transform_up(limited).data()
    }

    fn name(&self) -> &'static str {
        "keep_fetch"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn limited(node: Plan) -> Result<Transformed<Plan>> {
    if let Some(limit) = node.downcast_ref::<GlobalLimitExec>() {
        return Ok(of_tasks(limit).map_or_else(|| Transformed::no(node), Transformed::yes));
    }
    let Some(fetch) = node.fetch() else { return Ok(Transformed::no(node)) };
    if node.is::<FilterExec>() && node.output_partitioning().partition_count() == 1 {
        return Ok(Transformed::yes(Arc::new(GlobalLimitExec::new(node, 0, Some(fetch)))));
    }
    // It holds for each partition, as the join's own does.
    let join = node.is::<HashJoinExec>().then(|| node.with_fetch(None)).flatten();
    Ok(match join {
        Some(join) => Transformed::yes(Arc::new(LocalLimitExec::new(join, fetch))),
        None => Transformed::no(node),
    })
}

/// A limit above one of each task, where rows are unnested: scans and filters have theirs.
fn of_tasks(limit: &GlobalLimitExec) -> Option<Plan> {
    let fetch = limit.fetch().filter(|_| is_unnested(limit.input()))?;
    let rows = fetch.saturating_add(limit.skip());
    let each = Arc::new(LocalLimitExec::new(Arc::clone(limit.input()), rows));
    Some(Arc::new(GlobalLimitExec::new(each, limit.skip(), Some(fetch))))
}

fn is_unnested(plan: &Plan) -> bool {
    if plan.is::<ProjectionExec>() || plan.is::<CooperativeExec>() {
        return plan.children().into_iter().all(is_unnested);
    }
    plan.is::<UnnestExec>()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::{
        common::UnnestOptions,
        physical_expr::expressions::lit,
        physical_plan::{displayable, unnest::ListUnnest},
    };

    use super::*;
    use crate::samples::{scan, scan_of};

    fn shown(plan: Plan) -> String {
        let plan = KeepFetch.optimize(plan, &ConfigOptions::new()).unwrap();
        let text = displayable(plan.as_ref()).indent(false).to_string();
        let names = text.lines().map(|line| line.split(": format").next().unwrap_or(line).trim());
        names.collect::<Vec<_>>().join(" / ")
    }

    fn first(input: Plan, fetch: usize) -> Plan {
        FilterExec::try_new(lit(true), input).unwrap().with_fetch(Some(fetch)).unwrap()
    }

    #[test]
    fn a_task_ends_when_it_has_the_rows_that_are_wanted_of_a_condition() {
        let expected = "FilterExec: true, fetch=3 / InputScanExec";
        assert_eq!(shown(first(scan(2), 3)), expected);
        // Nobody else limits the rows of the tasks that one partition becomes.
        let expected = format!("GlobalLimitExec: skip=0, fetch=3 / {expected}");
        assert_eq!(shown(first(scan(1), 3)), expected);
    }

    #[test]
    fn a_task_ends_when_it_has_unnested_the_rows_that_are_wanted() {
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let lists = Arc::new(Schema::new(vec![Field::new("id", DataType::List(item), true)]));
        let list = ListUnnest { index_in_input_schema: 0, depth: 1 };
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let (input, options) = (scan_of(lists, 1), UnnestOptions::default());
        let unnest = UnnestExec::new(input, vec![list], Vec::new(), schema, options).unwrap();
        let limit = GlobalLimitExec::new(Arc::new(unnest), 2, Some(3));
        let expected = "GlobalLimitExec: skip=2, fetch=3 / LocalLimitExec: fetch=5 / UnnestExec / \
                        InputScanExec";
        assert_eq!(shown(Arc::new(limit)), expected);
        // A scan knows how many rows are wanted of it.
        let limit = GlobalLimitExec::new(scan(1), 2, Some(3));
        assert_eq!(shown(Arc::new(limit)), "GlobalLimitExec: skip=2, fetch=3 / InputScanExec");
    }
}
