//! Asking only for the fields that the plan reads: `SELECT s['name'] FROM (SELECT kv_get(id) AS s
//! …)` needs one column of the store.
//!
//! Walks down from the root, knowing for each column which of its fields are read above.

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::Field;
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result,
    physical_expr::{
        PhysicalExpr, ScalarFunctionExpr,
        expressions::{Column, IsNotNullExpr, IsNullExpr},
    },
    physical_plan::{
        ExecutionPlan,
        coalesce_partitions::CoalescePartitionsExec,
        filter::FilterExec,
        limit::{GlobalLimitExec, LocalLimitExec},
        projection::{ProjectionExec, ProjectionExpr},
    },
};
use keyloom_common::functions::{CallOptions, Function, KvCall, KvFunction};

use crate::calls::{as_call, as_field_access};

type Expr = Arc<dyn PhysicalExpr>;

/// What is read of a column.
#[derive(Clone, Debug, PartialEq)]
enum Use {
    All,
    Fields(BTreeSet<String>),
}

impl Use {
    fn nothing() -> Self {
        Self::Fields(BTreeSet::new())
    }

    fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Fields(mine), Self::Fields(theirs)) => mine.extend(theirs.iter().cloned()),
            _ => *self = Self::All,
        }
    }
}

/// Narrows calls to the fields that are read of them.
pub(crate) fn narrow(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let uses = vec![Use::All; plan.schema().fields().len()];
    narrow_node(plan, &uses)
}

fn narrow_node(plan: Arc<dyn ExecutionPlan>, uses: &[Use]) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return narrow_projection(projection, uses);
    }
    let children = plan.children();
    let below = match children.as_slice() {
        [input] => vec![input_uses(&plan, input, uses)?],
        inputs => inputs.iter().map(|input| all(input)).collect(),
    };
    let children: Vec<_> = children.into_iter().cloned().collect();
    if children.is_empty() {
        return Ok(plan);
    }
    let narrowed = children
        .iter()
        .zip(below)
        .map(|(child, uses)| narrow_node(Arc::clone(child), &uses))
        .collect::<Result<Vec<_>>>()?;
    if narrowed.iter().zip(&children).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(plan);
    }
    plan.with_new_children(narrowed)
}

fn all(input: &Arc<dyn ExecutionPlan>) -> Vec<Use> {
    vec![Use::All; input.schema().fields().len()]
}

/// What a node that passes columns through reads of its input.
fn input_uses(
    plan: &Arc<dyn ExecutionPlan>,
    input: &Arc<dyn ExecutionPlan>,
    uses: &[Use],
) -> Result<Vec<Use>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>()
        && filter.projection().is_none()
    {
        let mut below = uses.to_vec();
        read(filter.predicate(), &mut below)?;
        return Ok(below);
    }
    let passes = plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<CoalescePartitionsExec>();
    Ok(if passes { uses.to_vec() } else { all(input) })
}

fn narrow_projection(projection: &ProjectionExec, uses: &[Use]) -> Result<Arc<dyn ExecutionPlan>> {
    let input = projection.input();
    let mut below = vec![Use::nothing(); input.schema().fields().len()];
    let mut exprs = Vec::with_capacity(projection.expr().len());
    for (projected, used) in projection.expr().iter().zip(uses) {
        match projected.expr.downcast_ref::<Column>() {
            Some(column) => below[column.index()].add(used),
            None => read(&projected.expr, &mut below)?,
        }
        let expr = narrow_call(&projected.expr, used)?;
        exprs.push(ProjectionExpr { expr, alias: projected.alias.clone() });
    }
    let input = narrow_node(Arc::clone(input), &below)?;
    Ok(Arc::new(ProjectionExec::try_new(exprs, input)?))
}

/// Adds what an expression reads of each column.
fn read(expr: &Expr, uses: &mut [Use]) -> Result<()> {
    expr.apply(|node| {
        if let Some((structure, field)) = as_field_access(node)
            && let Some(column) = structure.downcast_ref::<Column>()
        {
            uses[column.index()].add(&Use::Fields(BTreeSet::from([field.to_owned()])));
            return Ok(TreeNodeRecursion::Jump);
        }
        if tested_for_null(node).is_some() {
            return Ok(TreeNodeRecursion::Jump);
        }
        if let Some(column) = node.downcast_ref::<Column>() {
            uses[column.index()] = Use::All;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The column whose being null is all that the expression reads.
fn tested_for_null(expr: &Expr) -> Option<&Column> {
    let argument = match expr.downcast_ref::<IsNullExpr>() {
        Some(test) => test.arg(),
        None => expr.downcast_ref::<IsNotNullExpr>()?.arg(),
    };
    argument.downcast_ref::<Column>()
}

/// The same call for fewer columns. At least one stays, so that there is a struct to be null.
fn narrow_call(expr: &Expr, used: &Use) -> Result<Expr> {
    let (Some(call), Use::Fields(fields)) = (as_call(expr), used) else {
        return Ok(Arc::clone(expr));
    };
    let (old, schema) = (call.call, call.call.store().schema());
    if old.function() != Function::Get {
        return Ok(Arc::clone(expr));
    }
    let names = old.column_indices().into_iter().map(|index| schema.field(index).name().clone());
    let mut names: Vec<_> = names.collect();
    match names.iter().position(|name| fields.contains(name)) {
        Some(_) => names.retain(|name| fields.contains(name)),
        None => names.truncate(1),
    }
    let options = CallOptions {
        columns: Some(names),
        on_error: old.on_error(),
        batch_size: old.batch_size().map(Into::into),
    };
    let new = KvCall::try_new(old.function(), Arc::clone(old.store()), options)?;
    rebuild(expr, call.key, new)
}

fn rebuild(expr: &Expr, key: &Expr, call: KvCall) -> Result<Expr> {
    let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() else {
        return Ok(Arc::clone(expr));
    };
    let field = Arc::new(Field::new(function.name(), call.answer_type(), true));
    let udf = Arc::new(KvFunction::udf(call));
    let config = Arc::new(function.config_options().clone());
    Ok(Arc::new(ScalarFunctionExpr::new(
        function.name(),
        udf,
        vec![Arc::clone(key)],
        field,
        config,
    )))
}
