//! Keeping the nulls of structs where their fields are read.

use std::sync::Arc;

use arrow::datatypes::{DataType, Fields};
use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    error::Result,
    functions::core::named_struct,
    logical_expr::{Expr, LogicalPlan, Projection, Unnest, expr::ScalarFunction, lit},
    optimizer::AnalyzerRule,
};
use keyloom_common::functions::{GET_FIELD, GetField};

/// Reads fields by [`GetField`], those of a struct that is unnested among them.
#[derive(Debug, Default)]
pub struct ReadFields;

impl AnalyzerRule for ReadFields {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(plan_node).data()
    }

    fn name(&self) -> &'static str {
        "read_fields"
    }
}

fn plan_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Unnest(unnest) if !unnest.struct_type_columns.is_empty() => {
            read_before_unnesting(unnest).map(Transformed::yes)
        }
        node => {
            let replaced = node.map_expressions(|expr| expr.transform_up(replace))?;
            // What stands above an unnested struct may be null more often.
            replaced.map_data(LogicalPlan::recompute_schema)
        }
    }
}

fn replace(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::ScalarFunction(ScalarFunction { func, args })
            if func.name() == GET_FIELD && !func.inner().is::<GetField>() =>
        {
            Transformed::yes(GetField::udf().call(args))
        }
        other => Transformed::no(other),
    })
}

/// Makes structs anew of their fields, which then are null where the structs are.
fn read_before_unnesting(unnest: Unnest) -> Result<LogicalPlan> {
    let schema = Arc::clone(unnest.input.schema());
    let columns = (0..schema.fields().len()).map(|index| {
        let (qualifier, field) = schema.qualified_field(index);
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        match field.data_type() {
            DataType::Struct(fields) if unnest.struct_type_columns.contains(&index) => {
                rebuilt(&column, fields).alias_qualified(qualifier.cloned(), field.name())
            }
            _ => column,
        }
    });
    let input = Projection::try_new(columns.collect(), Arc::clone(&unnest.input))?;
    let input = Arc::new(LogicalPlan::Projection(input));
    Unnest::try_new(input, unnest.exec_columns, unnest.options).map(LogicalPlan::Unnest)
}

fn rebuilt(structure: &Expr, fields: &Fields) -> Expr {
    if fields.is_empty() {
        return structure.clone();
    }
    let field = |name: &String| GetField::udf().call(vec![structure.clone(), lit(name)]);
    let named = fields.iter().flat_map(|f| [lit(f.name()), field(f.name())]);
    named_struct().call(named.collect())
}
