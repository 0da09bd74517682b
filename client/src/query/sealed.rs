//! Plans that DataFusion's own methods, which plan, copy and drop on their callers' stacks, do not
//! look into, and that are dropped where the stack is large enough.

use std::{fmt, mem, sync::Arc};

use datafusion::{
    common::{DFSchemaRef, display::PlanType},
    logical_expr::{Explain, Extension, LogicalPlan},
};
use keyloom_common::stack::deep;

use super::leaf::{Held, Leaf};

/// What is sealed, if the node is it, or else the node.
pub(super) fn opened(node: &LogicalPlan) -> &LogicalPlan {
    match sealed(node) {
        Some(sealed) => opened(&sealed.plan),
        None => node,
    }
}

/// The query that is sealed, if one is, as it was before DataFusion looked at it.
pub(super) fn open(query: &LogicalPlan) -> Option<LogicalPlan> {
    match query {
        LogicalPlan::Explain(explain) => {
            let plan = Arc::new(open(&explain.plan)?);
            let mut stringified_plans = explain.stringified_plans.clone();
            // The others say what became of it while it was sealed.
            stringified_plans.retain(|shown| shown.plan_type == PlanType::InitialLogicalPlan);
            Some(LogicalPlan::Explain(Explain { plan, stringified_plans, ..explain.clone() }))
        }
        query => sealed(query).map(|_| opened(query).clone()),
    }
}

/// The sealed plan that the node is, if it is one.
pub(super) fn sealed(node: &LogicalPlan) -> Option<&Sealed> {
    let LogicalPlan::Extension(Extension { node }) = node else { return None };
    Leaf::held(node.as_ref())
}

/// A plan that nobody looks into, and that is dropped where the stack is large enough.
pub(super) struct Sealed {
    plan: LogicalPlan,
    schema: DFSchemaRef,
}

impl Sealed {
    /// Seals a plan, unless it is sealed.
    pub(super) fn of(plan: LogicalPlan) -> LogicalPlan {
        if sealed(&plan).is_some() {
            return plan;
        }
        let schema = Arc::clone(plan.schema());
        Leaf::of(Self { plan, schema })
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        let plan = mem::take(&mut self.plan);
        deep(|| drop(plan));
    }
}

impl Held for Sealed {
    const NAME: &'static str = "Sealed";

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        deep(|| write!(f, "{}", self.plan.display_indent()))
    }
}
