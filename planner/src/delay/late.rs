//! Projections of which some columns are computed above a node that needs no answer of theirs.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    common::Column,
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, expr_rewriter::NamePreserver},
};

use super::keys::{column, replaced};
use crate::narrow::unaliased;

/// The names of columns that pass through the node, or that it reads.
const PREFIX: &str = "__late";

/// Where a column of a projection is computed.
pub(super) enum Place {
    Below,
    Above,
    /// Above, but below, too, for the fields that the node reads.
    Both(Expr),
}

/// The projection around a node, each column in its place, and behind them the columns that the
/// node adds.
pub(super) fn around(
    projection: &Projection,
    places: &[Place],
    node: impl FnOnce(&Passed<'_>, Arc<LogicalPlan>) -> Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    let schema = &projection.schema;
    let mut passed = Passed::new(projection);
    let (mut below, mut above) = (Vec::new(), Vec::new());
    let names = NamePreserver::new_for_projection();
    for (at, (expr, place)) in projection.expr.iter().zip(places).enumerate() {
        match place {
            Place::Below => below.push(expr.clone()),
            Place::Above => {}
            Place::Both(key) => below.push(key.clone().alias(passed.key_name(at))),
        }
        above.push(match place {
            Place::Below => column(schema, at),
            Place::Above | Place::Both(_) => passed.moved(expr, &names)?,
        });
    }
    below.extend(passed.exprs());
    let width = below.len();
    let below = Projection::try_new(below, Arc::clone(&projection.input))?;
    let node = node(&passed, Arc::new(LogicalPlan::Projection(below)))?;
    above.extend(node.schema().columns().into_iter().skip(width).map(Expr::Column));
    Projection::try_new(above, Arc::new(node)).map(LogicalPlan::Projection)
}

/// The columns of a projection's input that are passed through the node, under names of their own.
pub(super) struct Passed<'a> {
    projection: &'a Projection,
    /// By their places in the input.
    places: BTreeSet<usize>,
    first: usize,
}

impl<'a> Passed<'a> {
    fn new(projection: &'a Projection) -> Self {
        let is_taken = |number: &usize| {
            let name = format!("{PREFIX}{number}_");
            projection.schema.fields().iter().any(|field| field.name().starts_with(&name))
        };
        let first = (0..).find(|number| !is_taken(number)).unwrap_or_default();
        Self { projection, places: BTreeSet::new(), first }
    }

    fn name(&self, place: usize) -> String {
        format!("{PREFIX}{}_{place}", self.first)
    }

    /// The name of what the node reads of a column of the projection.
    fn key_name(&self, place: usize) -> String {
        format!("{PREFIX}{}_key{place}", self.first)
    }

    /// What the node reads of a column of the projection that is computed above it.
    pub(super) fn key(&self, place: usize) -> Expr {
        Expr::Column(Column::new_unqualified(self.key_name(place)))
    }

    /// The expression over the columns that are passed.
    fn moved(&mut self, expr: &Expr, names: &NamePreserver) -> Result<Expr> {
        let schema = self.projection.input.schema();
        for column in expr.column_refs() {
            self.places.insert(schema.index_of_column(column)?);
        }
        let value = |place: usize| Some(Expr::Column(Column::new_unqualified(self.name(place))));
        let moved = replaced(expr, schema, &value)?.unwrap_or_else(|| expr.clone());
        Ok(names.save(expr).restore(moved))
    }

    fn exprs(&self) -> impl Iterator<Item = Expr> {
        let schema = self.projection.input.schema();
        self.places.iter().map(|&place| column(schema, place).alias(self.name(place)))
    }
}

/// The projection that a plan is, aliases above it among its names.
pub(super) fn as_projection(plan: &LogicalPlan) -> Result<Option<Projection>> {
    match plan {
        LogicalPlan::Projection(projection) => Ok(Some(projection.clone())),
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(below) = as_projection(&alias.input)? else { return Ok(None) };
            let columns = below.expr.into_iter().zip(alias.schema.iter());
            let exprs = columns.map(|(expr, (qualifier, field))| {
                expr.unalias().alias_qualified(qualifier.cloned(), field.name())
            });
            Projection::try_new(exprs.collect(), below.input).map(Some)
        }
        _ => Ok(None),
    }
}

/// A projection of a projection as one, if that makes no call twice and none lazy that was not: a
/// column with calls is passed at most once, as it is.
pub(super) fn merged(projection: &Projection) -> Result<Option<Projection>> {
    let LogicalPlan::Projection(below) = projection.input.as_ref() else { return Ok(None) };
    let mut passed = BTreeSet::new();
    for expr in &projection.expr {
        let is_column = matches!(unaliased(expr), Expr::Column(_));
        for column in expr.column_refs() {
            let place = below.schema.index_of_column(column)?;
            if below.expr[place].is_volatile() && !(is_column && passed.insert(place)) {
                return Ok(None);
            }
        }
    }
    let value = |place: usize| below.expr.get(place).map(|expr| unaliased(expr).clone());
    let names = NamePreserver::new_for_projection();
    let mut exprs = Vec::with_capacity(projection.expr.len());
    for expr in &projection.expr {
        let Some(merged) = replaced(expr, &below.schema, &value)? else { return Ok(None) };
        exprs.push(names.save(expr).restore(merged));
    }
    Projection::try_new(exprs, Arc::clone(&below.input)).map(Some)
}
