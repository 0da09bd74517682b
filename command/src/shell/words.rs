//! What names complete to.

use std::collections::BTreeSet;

/// The words of SQL that begin its clauses.
const OF_SQL: [&str; 18] = [
    "AND",
    "BETWEEN",
    "DISTINCT",
    "EXPLAIN",
    "FROM",
    "GROUP BY",
    "HAVING",
    "IN",
    "JOIN",
    "LEFT JOIN",
    "LIMIT",
    "ORDER BY",
    "SELECT",
    "SUMMARIZE",
    "UNION ALL",
    "USING",
    "WHERE",
    "WITH",
];

/// The names that can be typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    /// Stores, tables, columns and functions.
    pub(super) names: BTreeSet<String>,
    /// Commands, with their dots.
    pub(super) commands: &'static [&'static str],
}

impl Words {
    /// What the word before a position in a line may be, and where that word begins.
    pub(super) fn complete(&self, line: &str, position: usize) -> (usize, Vec<String>) {
        let before = line.get(..position).unwrap_or(line);
        if before.starts_with('.') {
            let fitting = self.commands.iter().filter(|command| command.starts_with(before));
            return (0, fitting.map(|&command| command.to_owned()).collect());
        }
        let of_word = |character: char| character.is_alphanumeric() || character == '_';
        let start = before.trim_end_matches(of_word).len();
        let word = &before[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        let prefix = word.to_lowercase();
        let fits = |name: &str| name.to_lowercase().starts_with(&prefix);
        let names = self.names.iter().filter(|name| fits(name)).cloned();
        let of_sql = OF_SQL.into_iter().filter(|name| fits(name));
        // As it was begun.
        let is_lower = word.chars().all(|character| !character.is_uppercase());
        let of_sql =
            of_sql.map(|name| if is_lower { name.to_lowercase() } else { name.to_owned() });
        (start, names.chain(of_sql).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: (usize, &[&str])) {
        let names = ["products", "product_id", "Price", "kv_get", "kv_exists"];
        let names = names.into_iter().map(ToOwned::to_owned).collect();
        let words = Words { names, commands: &[".help", ".quit"] };
        let (start, found) = words.complete(line, line.len());
        assert_eq!((start, found), (expected.0, expected.1.iter().map(|&w| w.into()).collect()));
    }

    #[test]
    fn names_are_completed_whatever_their_case() {
        check("SELECT kv", (7, &["kv_exists", "kv_get"]));
        check("SELECT * FROM prod", (14, &["product_id", "products"]));
        check("select p.pr", (9, &["Price", "product_id", "products"]));
        check("kv_get(id, source => 'pri", (22, &["Price"]));
    }

    #[test]
    fn words_of_sql_are_completed_as_they_were_begun() {
        check("sel", (0, &["select"]));
        check("SELECT 1 FR", (9, &["FROM"]));
    }

    #[test]
    fn commands_are_completed_and_nothing_is_not() {
        check(".he", (0, &[".help"]));
        check("SELECT ", (7, &[]));
        check("", (0, &[]));
    }
}
