//! Asking only for what the plan reads: `SELECT s['name'] FROM (SELECT kv_get(id) AS s …)` needs
//! one column of the store, and `kv_get(id) IS NOT NULL` none.
//!
//! Walks down from the root, knowing for each column which of its fields are read above. What is
//! narrowed has another type, so the nodes above it are told their schemas anew.

mod calls;
mod inputs;
mod nulls;
mod unions;
mod uses;
mod values;

use std::{collections::BTreeSet, mem, slice, sync::Arc};

use datafusion::{
    common::{
        DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    logical_expr::{Expr, Filter, LogicalPlan, Projection, Union, expr_rewriter::NamePreserver},
    optimizer::{OptimizerConfig, OptimizerRule},
};

use crate::holds::{any_subquery, contains_call, has_call};
pub(crate) use calls::{with_fields, without_misses};
use inputs::input_uses;
use nulls::narrow_null_tests;
use unions::Unions;
pub(crate) use uses::{Use, read, unaliased};
use uses::{all, nothing};
use values::{narrow_read_fields, narrow_value};

/// Narrows calls to the fields that are read of them. Where only their being null is read, they
/// ask whether there is a row.
#[derive(Debug, Default)]
pub struct NarrowCalls;

impl OptimizerRule for NarrowCalls {
    fn name(&self) -> &'static str {
        "narrow_calls"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !has_call(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let uses = all(&plan);
        let mut unions = Unions::default();
        loop {
            let narrowed = narrow(plan.clone(), &uses, &mut unions)?;
            if unions.are_alike() {
                return Ok(narrowed);
            }
        }
    }
}

fn narrow(
    plan: LogicalPlan,
    uses: &[Use],
    unions: &mut Unions,
) -> Result<Transformed<LogicalPlan>> {
    // A subquery reads columns of the query around it unseen.
    if any_subquery(&plan)? {
        return narrow_inputs(plan, Vec::new(), unions);
    }
    match plan {
        LogicalPlan::Projection(projection) => narrow_projection(projection, uses, unions),
        LogicalPlan::Union(union) => narrow_union(union, uses, unions),
        LogicalPlan::Filter(filter) => {
            let filter = narrow_condition(filter)?;
            let is_narrowed = filter.transformed;
            let plan = LogicalPlan::Filter(filter.data);
            let below = input_uses(&plan, uses)?;
            let plan = narrow_inputs(plan, below, unions)?;
            let is_narrowed = is_narrowed || plan.transformed;
            Ok(Transformed::new_transformed(plan.data, is_narrowed))
        }
        plan => {
            let below = input_uses(&plan, uses)?;
            narrow_inputs(plan, below, unions)
        }
    }
}

/// The node over its inputs, of which this much is used: all of those that are not named.
fn narrow_inputs(
    plan: LogicalPlan,
    below: Vec<Vec<Use>>,
    unions: &mut Unions,
) -> Result<Transformed<LogicalPlan>> {
    let mut below = below.into_iter();
    let narrowed = plan.map_children(|input| {
        let uses = below.next().unwrap_or_else(|| all(&input));
        narrow(input, &uses, unions)
    })?;
    if narrowed.transformed {
        narrowed.map_data(LogicalPlan::recompute_schema)
    } else {
        Ok(narrowed)
    }
}

fn narrow_condition(filter: Filter) -> Result<Transformed<Filter>> {
    if !contains_call(&filter.predicate) {
        return Ok(Transformed::no(filter));
    }
    let Filter { mut predicate, input, .. } = filter;
    let is_narrowed = narrow_exprs(slice::from_mut(&mut predicate), input.schema())?;
    let filter = Filter::try_new(predicate, input)?;
    Ok(Transformed::new_transformed(filter, is_narrowed))
}

/// Narrows what a node's expressions read of their own calls. Whether anything changed.
fn narrow_exprs(exprs: &mut [Expr], schema: &DFSchema) -> Result<bool> {
    let mut is_narrowed = false;
    for expr in exprs.iter_mut().filter(|expr| contains_call(expr)) {
        let narrowed = narrow_read_fields(mem::take(expr), schema)?;
        is_narrowed |= narrowed.transformed;
        *expr = narrowed.data;
    }
    is_narrowed |= narrow_null_tests(exprs)?;
    Ok(is_narrowed)
}

fn narrow_projection(
    projection: Projection,
    uses: &[Use],
    unions: &mut Unions,
) -> Result<Transformed<LogicalPlan>> {
    let Projection { mut expr, input, schema, .. } = projection;
    let mut uses = uses.to_vec();
    let mut is_narrowed = drop_unread(&mut expr, &mut uses);
    let names = NamePreserver::new_for_projection();
    let saved: Vec<_> = expr.iter().map(|expr| names.save(expr)).collect();
    let mut exprs = Vec::with_capacity(expr.len());
    for (expr, used) in expr.into_iter().zip(&uses) {
        let narrowed = match used {
            Use::All => Transformed::no(expr),
            Use::Fields(fields) => narrow_value(expr, fields, input.schema())?,
            Use::Nothing => narrow_value(expr, &BTreeSet::new(), input.schema())?,
        };
        is_narrowed |= narrowed.transformed;
        exprs.push(narrowed.data);
    }
    is_narrowed |= narrow_exprs(&mut exprs, input.schema())?;
    if is_narrowed {
        exprs = exprs.into_iter().zip(saved).map(|(expr, name)| name.restore(expr)).collect();
    }
    let below = projection_uses(&exprs, &uses, &input)?;
    let input = narrow(Arc::unwrap_or_clone(input), &below, unions)?;
    is_narrowed |= input.transformed;
    let input = Arc::new(input.data);
    let projection = if is_narrowed {
        Projection::try_new(exprs, input)?
    } else {
        Projection::try_new_with_schema(exprs, input, schema)?
    };
    Ok(Transformed::new_transformed(LogicalPlan::Projection(projection), is_narrowed))
}

/// Drops columns with calls that nobody reads. Whether there were any; one column stays.
fn drop_unread(exprs: &mut Vec<Expr>, uses: &mut Vec<Use>) -> bool {
    let unread = |expr: &Expr, used: &Use| *used == Use::Nothing && contains_call(expr);
    let is_read: Vec<_> = exprs.iter().zip(&*uses).map(|(e, used)| !unread(e, used)).collect();
    if is_read.iter().all(|read| *read) || !is_read.contains(&true) {
        return false;
    }
    let mut read = is_read.iter();
    exprs.retain(|_| read.next().is_none_or(|read| *read));
    let mut read = is_read.iter();
    uses.retain(|_| read.next().is_none_or(|read| *read));
    true
}

/// What a projection reads of its input. A column that it passes is there, even if nobody reads it.
fn projection_uses(exprs: &[Expr], uses: &[Use], input: &LogicalPlan) -> Result<Vec<Use>> {
    let schema = input.schema();
    let mut below = nothing(input);
    for (expr, used) in exprs.iter().zip(uses) {
        match unaliased(expr) {
            Expr::Column(column) => {
                if let Some(index) = schema.maybe_index_of_column(column) {
                    below[index].add(&Use::kept());
                    below[index].add(used);
                }
            }
            _ => read(expr, schema, &mut below)?,
        }
    }
    Ok(below)
}

/// The union with the columns narrowed that can be in all its inputs alike.
fn narrow_union(
    union: Union,
    uses: &[Use],
    unions: &mut Unions,
) -> Result<Transformed<LogicalPlan>> {
    let number = unions.enter();
    // Inputs are put together by the places of their columns.
    let mut uses = uses.to_vec();
    for (place, used) in uses.iter_mut().enumerate() {
        match unions.passes_whole(number, place) {
            true => *used = Use::All,
            false => used.add(&Use::kept()),
        }
    }
    let Union { inputs, schema } = union;
    let narrowed = inputs.into_iter().map(|input| {
        let narrowed = narrow(Arc::unwrap_or_clone(input), &uses, unions);
        narrowed.map(|input| input.update_data(Arc::new))
    });
    let narrowed = narrowed.collect::<Result<Vec<_>>>()?;
    let is_narrowed = narrowed.iter().any(|input| input.transformed);
    let inputs: Vec<_> = narrowed.into_iter().map(|input| input.data).collect();
    for place in 0..uses.len() {
        let mut types = inputs.iter().map(|input| input.schema().field(place).data_type());
        let first = types.next();
        if types.any(|other| Some(other) != first) {
            unions.pass_whole(number, place);
        }
    }
    let Some(first) = inputs.first().filter(|_| is_narrowed) else {
        return Ok(Transformed::no(LogicalPlan::Union(Union { inputs, schema })));
    };
    let fields = schema.iter().zip(first.schema().fields()).enumerate();
    let fields = fields.map(|(place, ((qualifier, old), new))| {
        let is_whole = unions.passes_whole(number, place);
        let data_type = if is_whole { old.data_type() } else { new.data_type() };
        let field = old.as_ref().clone().with_data_type(data_type.clone());
        (qualifier.cloned(), Arc::new(field))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: Arc::new(schema) })))
}
