//! The nodes between an aggregate and the rows below the lowest lookup, each of which treats every
//! row by itself: over these rows, or over groups of them.

use std::{collections::BTreeSet, iter, sync::Arc};

use arrow::datatypes::Schema;
use datafusion::{
    common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    error::Result,
    physical_expr::{PhysicalExpr, expressions::Column, utils::collect_columns},
    physical_expr_common::physical_expr::is_volatile,
    physical_plan::{
        ExecutionPlan, filter::FilterExec, projection::ProjectionExec, unnest::UnnestExec,
    },
};
use keyloom_common::lookup::{Fetch, KvLookupExec};

use super::grouped::Grouped;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

/// The most parts of an expression that is said over the rows: each projection may double it.
const MOST_PARTS: usize = 64;

/// Such nodes, the lowest of which is a lookup.
pub(super) struct Chain {
    /// From the top to the bottom.
    nodes: Vec<Plan>,
    rows: Plan,
}

/// What is read of the columns of each node of a chain, and of the rows last.
pub(super) struct Needs(Vec<BTreeSet<usize>>);

impl Needs {
    /// What is read of the rows.
    pub(super) fn of_rows(&self) -> &BTreeSet<usize> {
        &self.0[self.0.len() - 1]
    }
}

impl Chain {
    /// The chain that ends with this node; `None` if there is no lookup in it.
    pub(super) fn below(top: &Plan) -> Option<Self> {
        let (mut nodes, mut lookups, mut node) = (Vec::new(), 0, top);
        while is_link(node) {
            nodes.push(Arc::clone(node));
            if node.is::<KvLookupExec>() {
                lookups = nodes.len();
            }
            node = input_of(node)?;
        }
        nodes.truncate(lookups);
        let rows = Arc::clone(input_of(nodes.last()?)?);
        Some(Self { nodes, rows })
    }

    /// The rows below it.
    pub(super) fn rows(&self) -> &Plan {
        &self.rows
    }

    /// Whether it may drop rows.
    pub(super) fn drops_rows(&self) -> bool {
        self.nodes.iter().any(|node| node.is::<FilterExec>() || node.is::<UnnestExec>())
    }

    /// What must be known of rows for these expressions over the chain, and for all that decides
    /// in it what becomes of a row; `None` if that is left to chance.
    pub(super) fn needs<'a>(&self, exprs: impl Iterator<Item = &'a Expr>) -> Option<Needs> {
        let exprs: Vec<_> = exprs.collect();
        if exprs.iter().any(|expr| is_volatile(expr)) {
            return None;
        }
        let read: BTreeSet<usize> = exprs.into_iter().flat_map(columns_of).collect();
        let mut needs = vec![read];
        for node in &self.nodes {
            let below = needed_below(node, needs.last()?)?;
            needs.push(below);
        }
        Some(Needs(needs))
    }

    /// An expression over the chain as one over the rows; `None` if it reads more than these have,
    /// or becomes too large.
    pub(super) fn over_rows(&self, expr: &Expr) -> Result<Option<Expr>> {
        let mut expr = Arc::clone(expr);
        for node in &self.nodes {
            match replaced(&expr, |at| value_below(node, at))? {
                Some(below) if has_few_parts(&below)? => expr = below,
                _ => return Ok(None),
            }
        }
        Ok(Some(expr))
    }

    /// The chain over groups of the rows, with what is needed of it.
    pub(super) fn over(&self, grouped: Grouped, needs: &Needs) -> Result<Grouped> {
        let mut nodes = self.nodes.iter().zip(&needs.0).rev();
        nodes.try_fold(grouped, |below, (node, needed)| below.under(node, needed))
    }
}

/// Whether a node may stand in a chain.
fn is_link(node: &Plan) -> bool {
    if let Some(unnest) = node.downcast_ref::<UnnestExec>() {
        return keeps_places(unnest);
    }
    node.is::<ProjectionExec>()
        || node.is::<KvLookupExec>()
        || (node.is::<FilterExec>() && node.fetch().is_none())
}

/// Whether columns stand where they stood before.
fn keeps_places(unnest: &UnnestExec) -> bool {
    unnest.struct_column_indices().is_empty()
        && unnest.list_column_indices().iter().all(|list| list.depth == 1)
        && unnest.schema().fields().len() == width(unnest.input())
}

/// What of a node's input must be known for some of its columns, and for what it does.
fn needed_below(node: &Plan, needed: &BTreeSet<usize>) -> Option<BTreeSet<usize>> {
    let mut below: BTreeSet<usize> = BTreeSet::new();
    let mut exprs: Vec<&Expr> = Vec::new();
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let all = projection.expr();
        exprs.extend(needed.iter().filter_map(|at| all.get(*at)).map(|one| &one.expr));
    } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let kept = kept_by(filter);
        below.extend(needed.iter().filter_map(|at| kept.get(*at)));
        exprs.push(filter.predicate());
    } else if let Some(unnest) = node.downcast_ref::<UnnestExec>() {
        below.extend(needed);
        below.extend(unnest.list_column_indices().iter().map(|list| list.index_in_input_schema));
    } else {
        let lookup = node.downcast_ref::<KvLookupExec>()?;
        below.extend(needed);
        exprs.extend(lookup.waves().iter().flat_map(|wave| &wave.fetches).flat_map(exprs_of));
    }
    if exprs.iter().any(|expr| is_volatile(expr)) {
        return None;
    }
    below.extend(exprs.into_iter().flat_map(columns_of));
    // Beyond stand the answers of a lookup.
    let width = width(input_of(node)?);
    below.retain(|at| *at < width);
    Some(below)
}

/// The key of a fetch, and the conditions of its calls.
fn exprs_of(fetch: &Fetch) -> impl Iterator<Item = &Expr> {
    let guards = fetch.calls.iter().filter_map(|call| call.guard.as_ref());
    iter::once(&fetch.key).chain(guards)
}

/// What a column of a node is over its input; `None` if it is none of that.
fn value_below(node: &Plan, at: usize) -> Option<Expr> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        return Some(Arc::clone(&projection.expr().get(at)?.expr));
    }
    let input = input_of(node)?.schema();
    let below = if let Some(filter) = node.downcast_ref::<FilterExec>() {
        kept_by(filter).get(at).copied()
    } else if let Some(unnest) = node.downcast_ref::<UnnestExec>() {
        let mut lists = unnest.list_column_indices().iter();
        lists.all(|list| list.index_in_input_schema != at).then_some(at)
    } else {
        (at < input.fields().len()).then_some(at)
    };
    below.map(|at| column(&input, at))
}

/// Which columns of its input a filter has.
pub(super) fn kept_by(filter: &FilterExec) -> Vec<usize> {
    match filter.projection() {
        Some(projection) => projection.to_vec(),
        None => (0..width(filter.input())).collect(),
    }
}

/// The expression with other values in the places of its columns; `None` if one is not known.
pub(super) fn replaced(expr: &Expr, value: impl Fn(usize) -> Option<Expr>) -> Result<Option<Expr>> {
    let mut is_known = true;
    // What is put in is not looked at again.
    let replaced = Arc::clone(expr).transform_up(|node| {
        let Some(at) = node.downcast_ref::<Column>().map(Column::index) else {
            return Ok(Transformed::no(node));
        };
        Ok(match value(at) {
            Some(value) => Transformed::yes(value),
            None => {
                is_known = false;
                Transformed::no(node)
            }
        })
    });
    let replaced = replaced.data()?;
    Ok(is_known.then_some(replaced))
}

pub(super) fn column(schema: &Schema, at: usize) -> Expr {
    Arc::new(Column::new(schema.field(at).name(), at))
}

fn has_few_parts(expr: &Expr) -> Result<bool> {
    let mut parts = 0_usize;
    expr.apply(|_| {
        parts += 1;
        let is_enough = parts > MOST_PARTS;
        Ok(if is_enough { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(parts <= MOST_PARTS)
}

fn columns_of(expr: &Expr) -> impl Iterator<Item = usize> + use<> {
    collect_columns(expr).into_iter().map(|column| column.index())
}

fn input_of(node: &Plan) -> Option<&Plan> {
    node.children().first().copied()
}

pub(super) fn width(plan: &Plan) -> usize {
    plan.schema().fields().len()
}
