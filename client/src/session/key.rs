//! The columns that a key in SQL names: a store without a key is looked up by its columns of these
//! names, and the parts of a key of several columns are found by them.

use datafusion::sql::sqlparser::ast::{
    Array, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Value,
};
use keyloom_common::store::KeyColumns;

/// Reads keys as the planner will read them.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyReader {
    /// Whether names without quotes are folded to lower case.
    pub(super) folds: bool,
}

impl KeyReader {
    /// The columns that a key consists of, if it consists of nothing else.
    pub(super) fn columns(self, key: &Expr) -> Option<KeyColumns> {
        let names = match key {
            Expr::Nested(key) => return self.columns(key),
            Expr::Struct { values, .. } => {
                values.iter().map(|value| self.part(value)).collect::<Option<_>>()?
            }
            Expr::Function(call) if is_called(call, "named_struct") => named_struct(call)?,
            column => vec![self.column(column)?],
        };
        KeyColumns::try_new(names).ok()
    }

    /// Gives the parts of a key the names of the columns that they are, which DataFusion would call
    /// `c0`, `c1`, ….
    pub(super) fn name_parts(self, key: &mut Expr) {
        match key {
            Expr::Array(Array { elem, .. }) => {
                elem.iter_mut().for_each(|element| self.name_parts(element));
            }
            Expr::Nested(inner) => self.name_parts(inner),
            Expr::Tuple(values) => {
                let values = std::mem::take(values);
                *key = Expr::Struct { values, fields: Vec::new() };
                self.name_parts(key);
            }
            Expr::Struct { values, fields } if fields.is_empty() => {
                let names: Option<Vec<_>> = values.iter().map(|value| self.part(value)).collect();
                let names = names.filter(|names| KeyColumns::try_new(names.clone()).is_ok());
                for (value, name) in values.iter_mut().zip(names.unwrap_or_default()) {
                    if !matches!(value, Expr::Named { .. }) {
                        let name = Ident::with_quote('"', name);
                        *value = Expr::Named { expr: Box::new(value.clone()), name };
                    }
                }
            }
            _ => {}
        }
    }

    /// The name of a part that has one, or is a plain column.
    fn part(self, value: &Expr) -> Option<String> {
        match value {
            Expr::Named { name, .. } => Some(self.name(name)),
            plain => self.column(plain),
        }
    }

    /// The name of a plain column. A cast changes its type and not what it is.
    fn column(self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Identifier(name) => Some(self.name(name)),
            Expr::CompoundIdentifier(path) => path.last().map(|name| self.name(name)),
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => self.column(inner),
            Expr::Function(call) if is_called(call, "coalesce") => self.coalesced(call),
            _ => None,
        }
    }

    /// The name of columns of one name, the first value of which is taken: that of USING is so.
    fn coalesced(self, call: &Function) -> Option<String> {
        let FunctionArguments::List(list) = &call.args else { return None };
        let mut names = list.args.iter().map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => self.column(value),
            _ => None,
        });
        let first = names.next()??;
        names.all(|name| name.as_ref() == Some(&first)).then_some(first)
    }

    /// What a name means.
    pub(super) fn name(self, name: &Ident) -> String {
        match name.quote_style {
            None if self.folds => name.value.to_ascii_lowercase(),
            _ => name.value.clone(),
        }
    }
}

/// The names that a call of `named_struct` gives.
fn named_struct(call: &Function) -> Option<Vec<String>> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let names = list.args.iter().step_by(2).map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::SingleQuotedString(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    });
    names.collect()
}

fn is_called(call: &Function, function: &str) -> bool {
    match call.name.0.as_slice() {
        [name] => name.as_ident().is_some_and(|name| name.value.eq_ignore_ascii_case(function)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};

    use super::*;

    #[test]
    fn keys_are_called_by_the_columns_that_they_are() {
        for (key, expected) in [
            ("K", Some(vec!["k"])),
            ("CAST((t.k) AS INT)", Some(vec!["k"])),
            ("coalesce(a.k, b.k)", Some(vec!["k"])),
            ("struct(coalesce(a.k, b.k, c.k), j)", Some(vec!["k", "j"])),
            ("named_struct('n', 1, 'm', k)", Some(vec!["n", "m"])),
            ("coalesce(a.k, b.j)", None),
            ("coalesce(a.k, 1)", None),
            ("coalesce()", None),
            ("upper(k)", None),
        ] {
            let dialect = GenericDialect {};
            let parsed = Parser::new(&dialect).try_with_sql(key).unwrap().parse_expr().unwrap();
            let expected = expected.map(|names| {
                let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
                KeyColumns::try_new(names).unwrap()
            });
            assert_eq!(KeyReader { folds: true }.columns(&parsed), expected, "{key}");
        }
    }
}
