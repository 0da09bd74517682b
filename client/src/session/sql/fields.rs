//! Fields behind a dot: `kv_get(key).name` is `kv_get(key)['name']`.

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Value};

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
