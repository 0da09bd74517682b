//! Relations of a statement as DataFusion plans them, but that they tell nothing of columns that
//! others determine: see [`forget_dependencies`].

use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::{
    error::Result,
    logical_expr::planner::{
        PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
    },
    sql::sqlparser::ast::TableFactor,
};
use keyloom_planner::forget_dependencies;

/// Plans the relations of one statement, one after the other.
#[derive(Debug, Default)]
pub(super) struct PlanRelations {
    /// Whether DataFusion is asked for the next one: it asks back before it plans it itself.
    is_asked: AtomicBool,
}

impl RelationPlanner for PlanRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        if self.is_asked.swap(false, Ordering::Relaxed) {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        }
        self.is_asked.store(true, Ordering::Relaxed);
        let plan = forget_dependencies(context.plan(relation)?)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}
