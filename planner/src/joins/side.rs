//! The store's side of a join, as expressions over one column that holds the store's rows.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Expr, LogicalPlan, Projection, TableScan, expr::ScalarFunction, lit},
};
use keyloom_common::{
    functions::{GET_FIELD, GetField},
    store::AttachedStore,
};

use super::StoreTables;
use crate::holds::{contains, has_grown, has_subquery};

/// A scan of a store under aliases, projections and conditions.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) store: Arc<AttachedStore>,
    /// What the side's columns are.
    columns: HashMap<Column, Expr>,
    /// What holds for all its rows.
    pub(super) conditions: Vec<Expr>,
}

impl Side {
    /// The side that a plan is, if it is one of a store; `row` is to hold the store's rows.
    pub(super) fn of(
        plan: &LogicalPlan,
        tables: &dyn StoreTables,
        row: &Column,
    ) -> Result<Option<Self>> {
        let below = |plan: &LogicalPlan| Self::of(plan, tables, row);
        Ok(match plan {
            LogicalPlan::TableScan(scan) => Self::of_scan(scan, tables, row),
            LogicalPlan::SubqueryAlias(alias) => {
                below(&alias.input)?.map(|side| side.renamed(alias.input.schema(), &alias.schema))
            }
            LogicalPlan::Filter(filter) => match below(&filter.input)? {
                Some(side) => side.filtered(&filter.predicate)?,
                None => None,
            },
            LogicalPlan::Projection(projection) => match below(&projection.input)? {
                Some(side) => side.projected(projection)?,
                None => None,
            },
            _ => None,
        })
    }

    fn of_scan(scan: &TableScan, tables: &dyn StoreTables, row: &Column) -> Option<Self> {
        let store = tables.store(&scan.source)?;
        if scan.fetch.is_some() || !scan.filters.is_empty() {
            return None;
        }
        let columns = scan.projected_schema.columns().into_iter();
        let columns = columns.map(|column| {
            let value = read(row, &column.name);
            (column, value)
        });
        Some(Self { store, columns: columns.collect(), conditions: Vec::new() })
    }

    fn renamed(mut self, from: &DFSchema, to: &DFSchema) -> Self {
        let names = from.columns().into_iter().zip(to.columns());
        let columns = names.filter_map(|(from, to)| Some((to, self.columns.remove(&from)?)));
        let columns = columns.collect();
        Self { columns, ..self }
    }

    fn filtered(mut self, predicate: &Expr) -> Result<Option<Self>> {
        let Some(condition) = self.over_row(predicate)? else { return Ok(None) };
        self.conditions.push(condition);
        Ok(Some(self))
    }

    fn projected(self, projection: &Projection) -> Result<Option<Self>> {
        let mut columns = HashMap::new();
        for (column, expr) in projection.schema.columns().into_iter().zip(&projection.expr) {
            let Some(expr) = self.over_row(expr)? else { return Ok(None) };
            columns.insert(column, expr.unalias());
        }
        Ok(Some(Self { columns, ..self }))
    }

    /// What a column of the side is, over the row.
    pub(super) fn column(&self, column: &Column) -> Option<&Expr> {
        self.columns.get(column)
    }

    /// An expression over the side's columns, over the row; none if it cannot be moved, or becomes
    /// too large.
    pub(super) fn over_row(&self, expr: &Expr) -> Result<Option<Expr>> {
        self.over_row_and(expr, &DFSchema::empty())
    }

    /// The same of an expression that reads columns of another side, too.
    pub(super) fn over_row_and(&self, expr: &Expr, other: &DFSchema) -> Result<Option<Expr>> {
        if !may_move(expr) {
            return Ok(None);
        }
        let mut is_known = true;
        let replaced = expr.clone().transform_up(|node| {
            let Expr::Column(column) = &node else { return Ok(Transformed::no(node)) };
            match self.column(column) {
                Some(value) => Ok(Transformed::yes(value.clone())),
                None => {
                    is_known &= other.has_column(column);
                    Ok(Transformed::no(node))
                }
            }
        });
        let replaced = replaced.data()?;
        Ok(Some(replaced).filter(|replaced| is_known && !has_grown(replaced, expr)))
    }
}

/// Whether a plan may be the side of a store: below what such a side consists of, there is one.
pub(super) fn is_of_store(plan: &LogicalPlan, tables: &dyn StoreTables) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => tables.store(&scan.source).is_some(),
        LogicalPlan::SubqueryAlias(alias) => is_of_store(&alias.input, tables),
        LogicalPlan::Filter(filter) => is_of_store(&filter.input, tables),
        LogicalPlan::Projection(projection) => is_of_store(&projection.input, tables),
        _ => false,
    }
}

/// Whether an expression means the same wherever its columns are.
pub(super) fn may_move(expr: &Expr) -> bool {
    let is_outer = |node: &Expr| matches!(node, Expr::OuterReferenceColumn(..));
    !expr.is_volatile() && !has_subquery(expr) && !contains(expr, is_outer)
}

/// Reads a column of a store of its row.
fn read(row: &Column, name: &str) -> Expr {
    GetField::udf().call(vec![Expr::Column(row.clone()), lit(name)])
}

/// The column of the store that an expression reads, if that is all it does.
pub(super) fn as_read<'a>(expr: &'a Expr, row: &Column) -> Option<&'a str> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    match args.as_slice() {
        [Expr::Column(of), Expr::Literal(name, _)] if func.name() == GET_FIELD && of == row => {
            name.try_as_str().flatten()
        }
        _ => None,
    }
}

/// Whether an expression is certainly null where the row is.
pub(super) fn is_null_of_null(expr: &Expr, row: &Column) -> bool {
    match expr {
        Expr::Alias(alias) => is_null_of_null(&alias.expr, row),
        Expr::Cast(cast) => is_null_of_null(&cast.expr, row),
        Expr::TryCast(cast) => is_null_of_null(&cast.expr, row),
        Expr::Not(value) | Expr::Negative(value) => is_null_of_null(value, row),
        other => as_read(other, row).is_some(),
    }
}

/// The columns of the store that expressions read of its row, in the store's order.
pub(super) fn columns_read<'a>(
    exprs: impl IntoIterator<Item = &'a Expr>,
    row: &Column,
    store: &AttachedStore,
) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for expr in exprs {
        expr.apply(|node| {
            if let Some(name) = as_read(node, row)
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let place = |name: &String| store.schema().index_of(name).unwrap_or(usize::MAX);
    names.sort_by_key(place);
    Ok(names)
}
