//! Fields as SQL reads them: by Keyloom's own function, which names the fields that there are.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::Field,
    common::{Column, DFSchema, TableReference},
    error::Result,
    logical_expr::{
        Expr, GetFieldAccess, lit,
        planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr},
    },
};
use keyloom_common::functions::GetField;

/// Plans `structure['field']` and `structure.field`. All else is DataFusion's.
#[derive(Debug)]
pub(super) struct PlanFields;

impl PlanFields {
    /// As the first of a session's planners.
    pub(super) fn first() -> Vec<Arc<dyn ExprPlanner>> {
        vec![Arc::new(Self)]
    }
}

impl ExprPlanner for PlanFields {
    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        Ok(match raw.field_access {
            GetFieldAccess::NamedStructField { name } => {
                PlannerResult::Planned(GetField::udf().call(vec![raw.expr, lit(name)]))
            }
            field_access => PlannerResult::Original(RawFieldAccessExpr { field_access, ..raw }),
        })
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let column = Expr::Column(Column::from((qualifier, field)));
        let read = |structure: Expr, name: &String| {
            GetField::udf().call(vec![structure, lit(name.as_str())])
        };
        Ok(PlannerResult::Planned(nested_names.iter().fold(column, read)))
    }
}
