//! The physical rule that turns calls into lookups.
//!
//! It runs before DataFusion's own physical rules: dead columns are gone by then, and projections
//! are not yet pushed into scans.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_expr::{PhysicalExpr, conjunction, split_conjunction},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        filter::{FilterExec, FilterExecBuilder},
        projection::{ProjectionExec, ProjectionExpr},
    },
};
use keyloom_common::{Error, lookup::KvLookupExec};

use crate::{calls::contains_call, hoist::Hoister, waves::layout};

type Expr = Arc<dyn PhysicalExpr>;

/// Replaces `kv_get`, `kv_batch_get` and `kv_exists` in projections and filters by lookup nodes.
#[derive(Debug, Default)]
pub struct PlanLookups;

impl PhysicalOptimizerRule for PlanLookups {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let before = plan.schema();
        let mut columns = 0;
        let plan = plan.transform_up(|node| plan_node(node, &mut columns)).data()?;
        check_columns(&before, &plan.schema())?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        "plan_lookups"
    }

    /// Checked here instead: that a column is never null may be seen in a CASE over calls, and no
    /// more in the same CASE over their answers' columns.
    fn schema_check(&self) -> bool {
        false
    }
}

/// Refuses a plan with other columns than before, whether or not they may be null.
fn check_columns(before: &Schema, after: &Schema) -> Result<()> {
    let columns = |schema: &Schema| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
    };
    if columns(before) == columns(after) {
        return Ok(());
    }
    Err(Error::internal(format!("planning lookups made {after} of {before}")).into())
}

fn plan_node(
    node: Arc<dyn ExecutionPlan>,
    columns: &mut usize,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        if any_call(projection.expr().iter().map(|projected| &projected.expr))? {
            return plan_projection(projection, columns).map(Transformed::yes);
        }
    } else if let Some(filter) = node.downcast_ref::<FilterExec>()
        && contains_call(filter.predicate())?
    {
        return plan_filter(filter, columns).map(Transformed::yes);
    }
    Ok(Transformed::no(node))
}

fn any_call<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Result<bool> {
    exprs.into_iter().try_fold(false, |found, expr| Ok(found || contains_call(expr)?))
}

fn plan_projection(
    projection: &ProjectionExec,
    columns: &mut usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let exprs: Vec<_> = projection.expr().iter().map(|p| Arc::clone(&p.expr)).collect();
    let (lookup, exprs) = plan_lookup(projection.input(), &exprs, columns)?;
    let aliases = projection.expr().iter().map(|projected| projected.alias.clone());
    let exprs = exprs.into_iter().zip(aliases).map(|(expr, alias)| ProjectionExpr { expr, alias });
    Ok(Arc::new(ProjectionExec::try_new(exprs, lookup)?))
}

/// Conditions without calls are decided first, below the lookup: rows that they drop need none.
fn plan_filter(filter: &FilterExec, columns: &mut usize) -> Result<Arc<dyn ExecutionPlan>> {
    let mut plain = Vec::new();
    let mut calling = Vec::new();
    for condition in split_conjunction(filter.predicate()) {
        let side = if contains_call(condition)? { &mut calling } else { &mut plain };
        side.push(Arc::clone(condition));
    }
    let input = Arc::clone(filter.input());
    let width = input.schema().fields().len();
    let input: Arc<dyn ExecutionPlan> = if plain.is_empty() {
        input
    } else {
        Arc::new(FilterExec::try_new(conjunction(plain), input)?)
    };
    let (lookup, exprs) = plan_lookup(&input, &[conjunction(calling)], columns)?;
    let kept = match filter.projection() {
        Some(projection) => projection.to_vec(),
        None => (0..width).collect(),
    };
    let filter = FilterExecBuilder::new(conjunction(exprs), lookup)
        .apply_projection(Some(kept))?
        .with_fetch(filter.fetch())
        .build()?;
    Ok(Arc::new(filter))
}

/// A lookup over the input that answers the calls of the expressions, and the expressions with the
/// answers' columns in the place of the calls.
fn plan_lookup(
    input: &Arc<dyn ExecutionPlan>,
    exprs: &[Expr],
    columns: &mut usize,
) -> Result<(Arc<dyn ExecutionPlan>, Vec<Expr>)> {
    let mut hoister = Hoister::new(input.schema().fields().len(), *columns);
    let rewritten = exprs.iter().map(|expr| hoister.rewrite(expr)).collect::<Result<Vec<_>>>()?;
    hoister.share_fetches()?;
    let layout = layout(&hoister)?;
    *columns += layout.position.len();
    let place = |expr| hoister.place(expr, &layout.position);
    let exprs = rewritten.iter().map(place).collect::<Result<_>>()?;
    let lookup = KvLookupExec::try_new(Arc::clone(input), layout.waves)?;
    Ok((Arc::new(lookup), exprs))
}
