//! Deep plans on small stacks: sealed, so that DataFusion's own methods, which plan, copy and drop
//! on their callers' stacks, do not look into them before they are where the stack is large enough.
//!
//! A statement's plan is sealed when it is deep. What is built upon it, and what was built without
//! a statement, is sealed as a whole by the first of the analyzer's rules. Where the stack is
//! large, that rule opens what is sealed; otherwise [`JobPlanner`](super::planner::JobPlanner)
//! does, and has it optimized where it plans it.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion},
    config::ConfigOptions,
    error::Result,
    logical_expr::{Analyze, Explain, LogicalPlan},
    optimizer::AnalyzerRule,
};
use keyloom_common::stack::is_large;

use super::{
    depth::is_shallow,
    sealed::{Sealed, opened, sealed},
};

/// Seals a query if it is deep. Whether it explains is still to be seen.
pub(crate) fn seal(query: LogicalPlan) -> LogicalPlan {
    if is_shallow(&query) {
        return query;
    }
    match query {
        LogicalPlan::Explain(explain) => {
            let plan = Arc::new(Sealed::of(Arc::unwrap_or_clone(explain.plan)));
            LogicalPlan::Explain(Explain { plan, ..explain })
        }
        LogicalPlan::Analyze(analyze) => {
            let input = Arc::new(Sealed::of(Arc::unwrap_or_clone(analyze.input)));
            LogicalPlan::Analyze(Analyze { input, ..analyze })
        }
        query => Sealed::of(query),
    }
}

/// Seals deep plans where the stack is small, and opens all where it is large.
#[derive(Debug)]
pub(super) struct SealDeep;

impl AnalyzerRule for SealDeep {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        if is_large() {
            return open_all(plan);
        }
        Ok(if is_shallow(&plan) { plan } else { Sealed::of(plan) })
    }

    fn name(&self) -> &'static str {
        "seal_deep"
    }
}

fn open_all(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut is_any = false;
    plan.apply_with_subqueries(|node| {
        is_any |= sealed(node).is_some();
        Ok(if is_any { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !is_any {
        return Ok(plan);
    }
    let open_node = |node: LogicalPlan| {
        Ok(match sealed(&node) {
            Some(_) => Transformed::yes(opened(&node).clone()),
            None => Transformed::no(node),
        })
    };
    plan.transform_down_with_subqueries(open_node).data()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use datafusion::logical_expr::{LogicalPlanBuilder, lit};
    use keyloom_common::stack::deep;

    use super::*;
    use crate::query::sealed::open;

    /// A sum of so many terms.
    fn sum(terms: usize) -> LogicalPlan {
        let sum = (1..terms).fold(lit(1_i64), |sum, _| sum + lit(1_i64));
        let plan = LogicalPlanBuilder::empty(true).project([sum.alias("sum")]);
        plan.unwrap().build().unwrap()
    }

    fn first_row(plan: LogicalPlan) -> LogicalPlan {
        LogicalPlanBuilder::from(plan).limit(0, Some(1)).unwrap().build().unwrap()
    }

    #[test]
    fn a_deep_plan_is_a_leaf_until_it_is_opened() {
        let few = sum(10);
        assert_eq!(seal(few.clone()), few);
        assert_eq!(open(&few), None);
        let many = sum(100);
        let sealed = seal(many.clone());
        assert!(sealed.inputs().is_empty() && sealed.expressions().is_empty());
        assert_eq!(sealed.schema(), many.schema());
        let text = |plan: &LogicalPlan| plan.display_indent().to_string();
        assert_eq!(text(&sealed), text(&many));
        assert_eq!(open(&sealed), Some(many));
    }

    fn check_rule() {
        let analyze = |plan| SealDeep.analyze(plan, &ConfigOptions::new()).unwrap();
        let query = first_row(sum(100));
        for built in [query.clone(), first_row(seal(sum(100)))] {
            let sealed = analyze(built);
            assert!(sealed.inputs().is_empty(), "{sealed:?}");
            assert_eq!(analyze(sealed.clone()), sealed);
            assert_eq!(deep(|| analyze(sealed)), query);
        }
        let few = first_row(sum(10));
        assert_eq!(analyze(few.clone()), few);
    }

    #[test]
    fn what_is_deep_is_sealed_as_a_whole_where_the_stack_is_small() {
        let small = thread::Builder::new().stack_size(2 << 20);
        small.spawn(check_rule).unwrap().join().unwrap();
    }
}
