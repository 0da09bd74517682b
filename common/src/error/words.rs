//! Messages without what DataFusion and Arrow put around them for those who work on them.

/// What stands before what went wrong.
const BEFORE: [&str; 8] = [
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "Schema error: ",
    "SQL error: ",
    "Arrow error: ",
    "Invalid argument error: ",
    "Internal error: ",
];

/// What stands behind it.
const AFTER: [&str; 2] = [".\nThis issue was likely", "\nThis issue was likely"];

/// A message in the words of those who wrote the statement.
pub fn in_users_words(message: &str) -> String {
    // A rule of the optimizer that met an error stands before it.
    let mut rest = message.rsplit("\ncaused by\n").next().unwrap_or(message);
    while let Some(shorter) = BEFORE.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = shorter;
    }
    let rest = AFTER.iter().fold(rest, |rest, after| rest.split(after).next().unwrap_or(rest));
    let parsed = rest.strip_prefix("ParserError(\"").and_then(|rest| rest.strip_suffix("\")"));
    parsed.unwrap_or(rest).replace("datafusion.public.", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_datafusion_says_of_itself_is_left_out() {
        for (message, expected) in [
            (
                "SQL error: ParserError(\"Expected: end of statement\")",
                "Expected: end of statement",
            ),
            (
                "Optimizer rule 'eliminate_limit' failed\ncaused by\nError during planning: LIMIT \
                 must be >= 0, '-1' was provided",
                "LIMIT must be >= 0, '-1' was provided",
            ),
            (
                "Internal error: no such thing.\nThis issue was likely caused by a bug in \
                 DataFusion's code.",
                "no such thing",
            ),
            ("table 'datafusion.public.t' not found", "table 't' not found"),
            ("Optimizer rule 'a' failed", "Optimizer rule 'a' failed"),
            ("", ""),
        ] {
            assert_eq!(in_users_words(message), expected);
        }
    }
}
