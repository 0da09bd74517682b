//! `kv_get(key).*` among the columns of SELECT: a column for each field.
//!
//! The parser does not read it. A statement that it refuses is parsed again with a field of a name
//! of our own in the star's place. Before it is planned, that column is replaced by those that it
//! stands for.

use std::mem;

use datafusion::sql::sqlparser::{
    ast::{AccessExpr, Expr, FunctionArguments, Ident, Select, SelectItem, Value},
    dialect::Dialect,
    tokenizer::{Location, Token, Tokenizer},
};
use keyloom_common::{Error, Result, functions::Function};

use super::{Arguments, called};
use crate::session::Session;

/// The field in the place of a star, and how it is written. No column is called so.
const STAR: &str = "#*";
const WRITTEN: &str = "\"#*\"";

/// A statement with its stars as the parser reads them, if it has any.
pub(super) fn readable(text: &str, dialect: Option<Box<dyn Dialect>>) -> Option<String> {
    let dialect = dialect?;
    let mut tokens = Tokenizer::new(dialect.as_ref(), text).tokenize_with_location().ok()?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    let (mut readable, mut rest) = (String::new(), 0);
    for three in tokens.windows(3) {
        let [before, dot, star] = three else { continue };
        let is_star =
            star.token == Token::Mul && dot.token == Token::Period && before.token == Token::RParen;
        if is_star {
            let place = offset(text, star.span.start)?;
            readable.push_str(text.get(rest..place)?);
            readable.push_str(WRITTEN);
            rest = place + "*".len();
        }
    }
    readable.push_str(text.get(rest..)?);
    (rest > 0).then_some(readable)
}

/// The byte at which a location is.
fn offset(text: &str, at: Location) -> Option<usize> {
    let (mut line, mut column) = (1, 1);
    for (offset, letter) in text.char_indices() {
        if (line, column) == (at.line, at.column) {
            return Some(offset);
        }
        (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
    }
    None
}

/// The error of a statement whose stars were made readable, with the stars as they were written.
pub(super) fn as_written(error: Error) -> Error {
    let message = error.message().replace(WRITTEN, "*").replace(STAR, "*");
    error.reworded(message)
}

/// Puts the columns that stars stand for in their places. One that stands for none stays.
pub(super) fn expand(select: &mut Select, session: &Session) {
    let items = mem::take(&mut select.projection).into_iter();
    let expanded = items.flat_map(|item| columns(&item, session).unwrap_or_else(|| vec![item]));
    select.projection = expanded.collect();
}

/// The columns that a lookup with a star stands for.
fn columns(item: &SelectItem, session: &Session) -> Option<Vec<SelectItem>> {
    let SelectItem::UnnamedExpr(Expr::CompoundFieldAccess { root, access_chain }) = item else {
        return None;
    };
    let [star] = access_chain.as_slice() else { return None };
    if !is_star(star) {
        return None;
    }
    let column = |field: String| SelectItem::ExprWithAlias {
        expr: Expr::CompoundFieldAccess {
            root: root.clone(),
            access_chain: vec![AccessExpr::Dot(Expr::value(Value::SingleQuotedString(
                field.clone(),
            )))],
        },
        alias: Ident::with_quote('"', field),
    };
    Some(fields(root, session)?.into_iter().map(column).collect())
}

/// The fields that a `kv_get` answers. What is wrong with a call is told when it is settled.
fn fields(expr: &Expr, session: &Session) -> Option<Vec<String>> {
    let call = match expr {
        Expr::Nested(inner) => return fields(inner, session),
        Expr::Function(call) if called(call) == Some(Function::Get) => call,
        _ => return None,
    };
    let FunctionArguments::List(list) = &call.args else { return None };
    let given = Arguments::read(Function::Get, list.args.clone()).ok()?;
    let store = session.source(given.source.as_deref()).ok()?;
    let all = || store.schema().fields().iter().map(|field| field.name().clone()).collect();
    Some(given.options.columns.unwrap_or_else(all))
}

/// Refuses a star that stands for no columns.
pub(super) fn check(expr: &Expr) -> Result<()> {
    match expr {
        Expr::CompoundFieldAccess { access_chain, .. } if access_chain.iter().any(is_star) => {
            Err(Error::invalid(
                "(…).* stands for the fields of a kv_get, among the columns of SELECT and without \
                 a name; elsewhere write kv_get(key)['name'] for a field",
            ))
        }
        _ => Ok(()),
    }
}

fn is_star(access: &AccessExpr) -> bool {
    matches!(access, AccessExpr::Dot(Expr::Identifier(name)) if name.value == STAR)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    #[test]
    fn stars_behind_parentheses_are_made_readable() {
        for (text, expected) in [
            ("SELECT kv_get(k).* FROM t", Some("SELECT kv_get(k).\"#*\" FROM t")),
            (
                "SELECT 'ä).*',\n (f(k)) . *, g(k).*",
                Some("SELECT 'ä).*',\n (f(k)) . \"#*\", g(k).\"#*\""),
            ),
            ("SELECT t.*, count(*), (1) * 2 FROM t -- f().*", None),
            ("SELECT 'open", None),
        ] {
            let dialect: Box<dyn Dialect> = Box::new(GenericDialect {});
            assert_eq!(readable(text, Some(dialect)).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_put_in_their_places_is_not_told() {
        let error = as_written(Error::invalid("Expected: end, found: \"#*\" of #*"));
        assert_eq!(error.message(), "Expected: end, found: * of *");
    }
}
