//! The placeholders of a statement.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Token, Tokenizer},
};

/// The names of a statement's placeholders, `name` of `$name`. One that has no tokens has none, and
/// is refused when it is planned.
pub fn placeholders(sql: &str) -> BTreeSet<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let names = tokens.into_iter().filter_map(|token| match token {
        Token::Placeholder(name) => name.strip_prefix('$').map(ToOwned::to_owned),
        _ => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_named_once_and_texts_are_none() {
        let sql = "SELECT '$a', $b FROM t WHERE day > $day AND b = $b -- $c";
        assert_eq!(placeholders(sql), BTreeSet::from(["b", "day"].map(ToOwned::to_owned)));
    }
}
