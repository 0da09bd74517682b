//! What is wrong with the text of a file, without that text: the line that cannot be read may hold a
//! secret.

/// How what the parser says begins.
const BEGINS: &str = "TOML parse error";

/// What the parser says in one line, without the line that it quotes, if it is the parser who says
/// it.
pub(super) fn without_source(message: &str) -> Option<String> {
    let mut lines = message.lines();
    let place = lines.next().filter(|line| line.starts_with(BEGINS))?;
    let reasons = lines.map(str::trim).filter(|line| !line.is_empty() && !is_source(line));
    Some(format!("{place}: {}", reasons.collect::<Vec<_>>().join(", ")))
}

/// Whether it is a line of the file, behind its number, or the place in one.
fn is_source(line: &str) -> bool {
    line.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start().starts_with('|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_cannot_be_read_is_not_told() {
        let said = "TOML parse error at line 12, column 9\n   |\n12 | token = HIDDEN\n   |         \
                    ^\ninvalid string\nexpected `\"`, `'`\n";
        let expected = "TOML parse error at line 12, column 9: invalid string, expected `\"`, `'`";
        assert_eq!(without_source(said).as_deref(), Some(expected));
        assert_eq!(without_source("a secret must be text in quotes"), None);
    }
}
