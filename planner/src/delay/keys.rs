//! Expressions over a node, said over its input.

use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result,
    logical_expr::{Expr, SortExpr, Unnest},
};

use crate::holds::{has_grown, has_subquery};

/// Sort keys over a node's columns as keys over what the columns are; `None` if one of them is
/// nothing that can be said.
pub(super) fn over_input(
    keys: &[SortExpr],
    schema: &DFSchema,
    value: impl Fn(usize) -> Option<Expr>,
) -> Result<Option<Vec<SortExpr>>> {
    let mut moved = Vec::with_capacity(keys.len());
    for key in keys {
        let Some(expr) = replaced(&key.expr, schema, &value)? else { return Ok(None) };
        moved.push(SortExpr { expr, ..key.clone() });
    }
    Ok(Some(moved))
}

/// The expression with other values in the places of a schema's columns; `None` if one of them is
/// not known, or if it becomes too large.
pub(crate) fn replaced(
    expr: &Expr,
    schema: &DFSchema,
    value: &impl Fn(usize) -> Option<Expr>,
) -> Result<Option<Expr>> {
    if has_subquery(expr) {
        return Ok(None);
    }
    let mut is_known = true;
    // What is put in is not looked at again.
    let replaced = expr.clone().transform_up(|node| {
        let Expr::Column(column) = &node else { return Ok(Transformed::no(node)) };
        Ok(match schema.maybe_index_of_column(column).and_then(value) {
            Some(value) => Transformed::yes(value),
            None => {
                is_known = false;
                Transformed::no(node)
            }
        })
    });
    let replaced = replaced.data()?;
    Ok((is_known && !has_grown(&replaced, expr)).then_some(replaced))
}

/// The column at a place, as an expression.
pub(crate) fn column(schema: &DFSchema, at: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(at)))
}

/// The column of an unnest's input that a column of it is, unless it is what is unnested.
pub(super) fn below_unnest(unnest: &Unnest, at: usize) -> Option<Expr> {
    place_below(unnest, at).map(|at| column(unnest.input.schema(), at))
}

/// The place of that column.
pub(super) fn place_below(unnest: &Unnest, at: usize) -> Option<usize> {
    let at = *unnest.dependency_indices.get(at)?;
    let is_list = unnest.list_type_columns.iter().any(|(list, _)| *list == at);
    (!is_list && !unnest.struct_type_columns.contains(&at)).then_some(at)
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::datatypes::{DataType, Field, Schema},
        logical_expr::col,
    };

    use super::*;

    #[test]
    fn what_doubles_with_every_projection_is_said_over_few() {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let schema = DFSchema::try_from(schema).unwrap();
        let doubled = |_: usize| Some(col("n") + col("n"));
        let (mut expr, mut projections) = (col("n"), 0);
        while let Some(said) = replaced(&expr, &schema, &doubled).unwrap() {
            (expr, projections) = (said, projections + 1);
            assert!(projections < 20);
        }
        assert!(projections > 5, "{projections}");
        // As large as it is, it may go where it does not grow.
        let same = |_: usize| Some(col("n"));
        assert_eq!(replaced(&expr, &schema, &same).unwrap(), Some(expr.clone()));
    }
}
