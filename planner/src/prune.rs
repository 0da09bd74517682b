//! Reading no more columns than a part of a plan needs.
//!
//! DataFusion does so when it plans a query. What reads a part of that once more, for some of its
//! columns alone, has to do it anew.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode},
    error::Result,
    physical_expr::{PhysicalExpr, expressions::Column, utils::collect_columns},
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        filter::{FilterExec, FilterExecBuilder},
        projection::{ProjectionExec, ProjectionExpr},
        union::UnionExec,
    },
};
use keyloom_common::{
    Error,
    plan::{FrameScanExec, InputScanExec},
};

type Expr = Arc<dyn PhysicalExpr>;

/// A plan without some of its columns.
struct Pruned {
    plan: Arc<dyn ExecutionPlan>,
    /// Where each column is now that the plan had before.
    places: Vec<Option<usize>>,
}

/// The same rows, of which only what their columns are made of is read below.
pub(crate) fn prune(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    exactly(plan, &(0..columns(plan)).collect())
}

/// A plan for some columns, in their order.
fn exactly(
    plan: &Arc<dyn ExecutionPlan>,
    wanted: &BTreeSet<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let pruned = pruned(plan, wanted)?;
    let places = wanted.iter().map(|column| pruned.place(*column)).collect::<Result<Vec<_>>>()?;
    if places.iter().copied().eq(0..columns(&pruned.plan)) {
        return Ok(pruned.plan);
    }
    let schema = pruned.plan.schema();
    let exprs = places.into_iter().map(|place| {
        let name = schema.field(place).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, place)), alias: name.clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Vec<_>>(), pruned.plan)?))
}

/// A plan for some columns, and perhaps a few more.
fn pruned(plan: &Arc<dyn ExecutionPlan>, wanted: &BTreeSet<usize>) -> Result<Pruned> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return of_projection(projection, wanted);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return of_filter(filter, wanted);
    }
    if let Some(scan) = plan.downcast_ref::<InputScanExec>() {
        return of_scan(scan, wanted);
    }
    if let Some(frame) = plan.downcast_ref::<FrameScanExec>() {
        let kept: Vec<_> = wanted.iter().copied().collect();
        return Ok(Pruned::to(Arc::new(frame.with_columns(&kept)?), wanted, columns(plan)));
    }
    if plan.is::<UnionExec>() {
        let inputs = plan.children().into_iter().map(|input| exactly(input, wanted));
        let union = UnionExec::try_new(inputs.collect::<Result<_>>()?)?;
        return Ok(Pruned::to(union, wanted, columns(plan)));
    }
    if plan.is::<CooperativeExec>()
        && let [input] = plan.children().as_slice()
    {
        let Pruned { plan: input, places } = pruned(input, wanted)?;
        return Ok(Pruned { plan: Arc::clone(plan).with_new_children(vec![input])?, places });
    }
    // What stands here needs all of its input.
    let places = (0..columns(plan)).map(Some).collect();
    Ok(Pruned { plan: Arc::clone(plan), places })
}

fn of_projection(projection: &ProjectionExec, wanted: &BTreeSet<usize>) -> Result<Pruned> {
    let all = projection.expr();
    let kept: Vec<_> = wanted.iter().map(|column| &all[*column]).collect();
    let below: BTreeSet<_> = kept.iter().flat_map(|kept| columns_of(&kept.expr)).collect();
    let input = pruned(projection.input(), &below)?;
    let exprs = kept.into_iter().map(|kept| {
        let expr = input.moved(&kept.expr)?;
        Ok(ProjectionExpr { expr, alias: kept.alias.clone() })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let plan = ProjectionExec::try_new(exprs, input.plan)?;
    Ok(Pruned::to(Arc::new(plan), wanted, all.len()))
}

fn of_filter(filter: &FilterExec, wanted: &BTreeSet<usize>) -> Result<Pruned> {
    // Which columns of the input its own are.
    let own: Vec<usize> = match filter.projection() {
        Some(projection) => projection.to_vec(),
        None => (0..columns(filter.input())).collect(),
    };
    let mut below: BTreeSet<_> = wanted.iter().map(|column| own[*column]).collect();
    below.extend(columns_of(filter.predicate()));
    let input = pruned(filter.input(), &below)?;
    let predicate = input.moved(filter.predicate())?;
    let places = own.into_iter().map(|column| input.places[column]).collect();
    let filter =
        FilterExecBuilder::new(predicate, input.plan).with_fetch(filter.fetch()).build()?;
    Ok(Pruned { plan: Arc::new(filter), places })
}

/// What is asked of the rows above is asked as before.
fn of_scan(scan: &InputScanExec, wanted: &BTreeSet<usize>) -> Result<Pruned> {
    let mut wanted = wanted.clone();
    wanted.extend(scan.predicate().into_iter().flat_map(columns_of));
    let kept: Vec<_> = wanted.iter().copied().collect();
    let narrow = scan.with_columns(&kept)?;
    let mut pruned = Pruned::to(Arc::new(narrow.clone()), &wanted, scan.projection().len());
    if let Some(predicate) = scan.predicate() {
        pruned.plan = Arc::new(narrow.with_predicate(Some(pruned.moved(predicate)?)));
    }
    Ok(pruned)
}

impl Pruned {
    /// A plan that has these columns, of so many that there were.
    fn to(plan: Arc<dyn ExecutionPlan>, kept: &BTreeSet<usize>, before: usize) -> Self {
        let mut places = vec![None; before];
        for (place, column) in kept.iter().enumerate() {
            places[*column] = Some(place);
        }
        Self { plan, places }
    }

    fn place(&self, column: usize) -> Result<usize> {
        let place = self.places.get(column).copied().flatten();
        place.ok_or_else(|| Error::internal(format!("column {column} is read no more")).into())
    }

    /// An expression over the columns as they were before, over those that there are now.
    fn moved(&self, expr: &Expr) -> Result<Expr> {
        let moved = |node: Expr| -> Result<Transformed<Expr>> {
            let Some(column) = node.downcast_ref::<Column>() else {
                return Ok(Transformed::no(node));
            };
            let moved = Column::new(column.name(), self.place(column.index())?);
            Ok(Transformed::yes(Arc::new(moved) as Expr))
        };
        Arc::clone(expr).transform_up(moved).data()
    }
}

fn columns(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.schema().fields().len()
}

fn columns_of(expr: &Expr) -> BTreeSet<usize> {
    collect_columns(expr).into_iter().map(|column| column.index()).collect()
}

#[cfg(test)]
mod tests;
