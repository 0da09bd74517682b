//! Fields behind a dot: `kv_get(key).name` is `kv_get(key)['name']`.

use datafusion::sql::sqlparser::{
    ast::{AccessExpr, Expr, Value},
    dialect::Dialect,
    tokenizer::{Token, Tokenizer},
};
use keyloom_common::Error;

use crate::session::key::KeyReader;

/// Writes fields that are named behind a dot as DataFusion reads them. The dots behind a plain name
/// it reads itself: they may lead to a table's column.
pub(super) fn name_fields(expr: &mut Expr, reader: KeyReader) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let is_name = |access: &AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
    let of_name = match root.as_ref() {
        Expr::Identifier(_) => access_chain.iter().take_while(|access| is_name(access)).count(),
        _ => 0,
    };
    for access in access_chain.iter_mut().skip(of_name) {
        if let AccessExpr::Dot(field) = access
            && let Expr::Identifier(name) = field
        {
            *field = Expr::value(Value::SingleQuotedString(reader.name(name)));
        }
    }
}

/// What to write for `kv_get(key).*`, which the parser does not read.
pub(super) fn of_star(text: &str, dialect: Option<Box<dyn Dialect>>, error: Error) -> Error {
    let tokens = dialect.map(|dialect| Tokenizer::new(dialect.as_ref(), text).tokenize());
    let Some(Ok(mut tokens)) = tokens else { return error };
    tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
    if tokens.windows(3).any(|three| three == [Token::RParen, Token::Period, Token::Mul]) {
        return Error::invalid(
            "the fields of a lookup are not read by .*; write kv_get(key)['name'] for a field, or \
             unnest(kv_get(key)) for a column of each",
        );
    }
    error
}
