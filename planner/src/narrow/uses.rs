//! What is read of columns.

use std::collections::BTreeSet;

use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Expr, LogicalPlan},
};
use keyloom_common::functions::GET_FIELD;

/// What is read of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nothing: it need not be there.
    #[default]
    Nothing,
    /// Where it is null, and these fields of the structs in it.
    Fields(BTreeSet<String>),
    All,
}

impl Use {
    /// The column is to be there; at most its nulls are read.
    pub(crate) fn kept() -> Self {
        Self::Fields(BTreeSet::new())
    }

    pub(crate) fn field(name: &str) -> Self {
        Self::Fields(BTreeSet::from([name.to_owned()]))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Nothing) => {}
            (Self::Fields(mine), Self::Fields(theirs)) => mine.extend(theirs.iter().cloned()),
            (Self::Nothing, _) => *self = other.clone(),
            _ => *self = Self::All,
        }
    }
}

/// All columns of a plan, read whole.
pub(crate) fn all(plan: &LogicalPlan) -> Vec<Use> {
    vec![Use::All; plan.schema().fields().len()]
}

/// No column of a plan.
pub(crate) fn nothing(plan: &LogicalPlan) -> Vec<Use> {
    vec![Use::Nothing; plan.schema().fields().len()]
}

/// Adds what an expression reads of the columns of a schema.
pub(crate) fn read(expr: &Expr, schema: &DFSchema, uses: &mut [Use]) -> Result<()> {
    expr.apply(|node| {
        let (column, used) = match (node, part(node)) {
            (_, Some(part)) => part,
            (Expr::Column(column), None) => (column, Use::All),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if let Some(index) = schema.maybe_index_of_column(column) {
            uses[index].add(&used);
        }
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(())
}

/// The column of which an expression reads only a part, and which.
fn part(expr: &Expr) -> Option<(&Column, Use)> {
    let (value, used) = match expr {
        Expr::IsNull(value) | Expr::IsNotNull(value) => (value.as_ref(), Use::kept()),
        Expr::AggregateFunction(function) => {
            let params = &function.params;
            let counts = function.func.name() == "count"
                && !params.distinct
                && params.filter.is_none()
                && params.order_by.is_empty();
            let [value] = params.args.as_slice() else { return None };
            (Some(value).filter(|_| counts)?, Use::kept())
        }
        other => {
            let (structure, field) = as_field_access(other)?;
            (structure, Use::field(field))
        }
    };
    match unaliased(value) {
        Expr::Column(column) => Some((column, used)),
        _ => None,
    }
}

/// The argument and the name of the field, if the expression reads a field of a struct.
pub(crate) fn as_field_access(expr: &Expr) -> Option<(&Expr, &str)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let [structure, Expr::Literal(name, _), ..] = function.args.as_slice() else { return None };
    let name = name.try_as_str().flatten().filter(|_| function.func.name() == GET_FIELD)?;
    Some((structure, name))
}

/// The expression that an alias names.
pub(crate) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up() {
        let mut used = Use::Nothing;
        used.add(&Use::Nothing);
        assert_eq!(used, Use::Nothing);
        used.add(&Use::kept());
        assert_eq!(used, Use::kept());
        used.add(&Use::field("b"));
        used.add(&Use::field("a"));
        used.add(&Use::Nothing);
        assert_eq!(used, Use::Fields(["a".to_owned(), "b".to_owned()].into()));
        used.add(&Use::All);
        used.add(&Use::field("a"));
        assert_eq!(used, Use::All);
    }
}
