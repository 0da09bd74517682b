//! Grouping rows: keys and aggregates, which may stand within larger expressions.

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    dataframe::DataFrame,
    error::DataFusionError,
    logical_expr::{Expr as Logical, utils::find_aggregate_exprs},
};
use keyloom_common::{Error, Result};

use crate::frame::columns;

/// # Errors
/// `invalid` if there is an aggregate where rows are not grouped.
pub(crate) fn refuse_aggregates<'a>(exprs: impl IntoIterator<Item = &'a Logical>) -> Result<()> {
    let exprs: Vec<_> = exprs.into_iter().cloned().collect();
    match find_aggregate_exprs(&exprs).first() {
        None => Ok(()),
        Some(call) => Err(Error::invalid(format!(
            "{} is of all rows, or of a group's; it stands in select, agg or groupby(…).agg",
            call.human_display()
        ))),
    }
}

/// A row for each group: its keys, and outputs made of keys and aggregates.
pub(crate) fn aggregate(
    frame: DataFrame,
    keys: Vec<Logical>,
    outputs: Vec<Logical>,
) -> Result<DataFrame> {
    let (keys, names): (Vec<_>, Vec<_>) = keys.into_iter().map(under_a_name).unzip();
    let calls = find_aggregate_exprs(&outputs);
    // Under names of their own: a key may be called as a column of the rows.
    let own = keys.iter().enumerate().map(|(at, key)| key.clone().alias(format!("key {at}")));
    let grouped = frame.aggregate(own.collect(), calls.clone())?;
    let columns = columns(&grouped);
    let known: Vec<_> = keys.into_iter().chain(calls).zip(&columns).collect();
    let keys = columns.iter().zip(names);
    let keys = keys.map(|(column, name)| Ok(Logical::Column(column.clone()).alias(name)));
    let outputs = outputs.into_iter().map(|output| {
        let (output, name) = under_a_name(output);
        Ok(replace(output, &known)?.alias(name))
    });
    Ok(grouped.select(keys.chain(outputs).collect::<Result<Vec<_>>>()?)?)
}

/// An expression and what its column is called.
fn under_a_name(expr: Logical) -> (Logical, String) {
    match expr {
        Logical::Alias(alias) => (*alias.expr, alias.name),
        Logical::Column(column) => {
            let name = column.name.clone();
            (Logical::Column(column), name)
        }
        other => {
            let name = other.schema_name().to_string();
            (other, name)
        }
    }
}

/// An output over the columns that keys and aggregates have become.
fn replace(output: Logical, known: &[(Logical, &Column)]) -> Result<Logical> {
    let replaced = output.transform_down(|expr| {
        if let Some((_, column)) = known.iter().find(|(known, _)| *known == expr) {
            // What is below is replaced with it.
            let column = Logical::Column((*column).clone());
            return Ok(Transformed::new(column, true, TreeNodeRecursion::Jump));
        }
        match &expr {
            Logical::Column(column) => Err(DataFusionError::from(Error::invalid(format!(
                "column '{}' is neither a key of the groups nor in an aggregate",
                column.name
            )))),
            _ => Ok(Transformed::no(expr)),
        }
    })?;
    Ok(replaced.data)
}
