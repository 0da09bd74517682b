//! Patterns of file names, as shells know them: `*`, `?` and `[a-z]` within a name, and `**` for
//! any number of folders. What is hidden fits a name that is written with its `.` or `_` only.

use std::fmt;

use keyloom_common::{Error, Result};
use regex::Regex;

use crate::object_stores::path::is_hidden;

/// A pattern of a path below a folder.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    names: Vec<Name>,
}

#[derive(Clone, Debug)]
enum Name {
    /// `**`.
    Folders,
    One {
        regex: Regex,
        fits_hidden: bool,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `invalid` if a bracket is not closed.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let names = text.split('/').filter(|name| !name.is_empty());
        let names = names.map(|name| match name {
            "**" => Ok(Name::Folders),
            name => {
                let regex = Regex::new(&regex(name)?).map_err(|_| no_pattern(name))?;
                Ok(Name::One { regex, fits_hidden: is_hidden(name) })
            }
        });
        Ok(Self { text: text.to_owned(), names: names.collect::<Result<_>>()? })
    }

    /// Whether it is about the files of one folder.
    pub(super) fn is_flat(&self) -> bool {
        matches!(self.names.as_slice(), [Name::One { .. }])
    }

    /// Whether a path fits. What stands in a folder that fits does not for that.
    pub(super) fn fits(&self, path: &str) -> bool {
        let path: Vec<_> = path.split('/').collect();
        fits(&self.names, &path)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn fits(names: &[Name], path: &[&str]) -> bool {
    // For each place in the path, whether the names so far can end there: linear in both.
    let mut ends = vec![false; path.len() + 1];
    ends[0] = true;
    for name in names {
        let mut next = vec![false; path.len() + 1];
        for (place, part) in path.iter().enumerate() {
            match name {
                Name::Folders => {
                    next[place] |= ends[place];
                    next[place + 1] = next[place] && !is_hidden(part);
                }
                Name::One { regex, fits_hidden } => {
                    let seen = *fits_hidden || !is_hidden(part);
                    next[place + 1] = ends[place] && seen && regex.is_match(part);
                }
            }
        }
        if matches!(name, Name::Folders) {
            next[path.len()] |= ends[path.len()];
        }
        ends = next;
    }
    ends[path.len()]
}

fn regex(name: &str) -> Result<String> {
    let mut regex = "(?s)^".to_owned();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '*' => {
                regex.push_str(".*");
                after
            }
            '?' => {
                regex.push('.');
                after
            }
            '[' => set(after, &mut regex).ok_or_else(|| no_pattern(name))?,
            other => {
                regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4])));
                after
            }
        };
    }
    regex.push('$');
    Ok(regex)
}

/// A set of characters, of which the bracket that opens it is read. What stands behind it is left.
fn set<'a>(text: &'a str, regex: &mut String) -> Option<&'a str> {
    let (not, inner) = match text.strip_prefix(['!', '^']) {
        Some(inner) => ("^", inner),
        None => ("", text),
    };
    // A bracket that comes first is one of the set.
    let first = inner.chars().next()?.len_utf8();
    let end = first + inner[first..].find(']')?;
    let escaped = |c: char| match c {
        '-' => "-".to_owned(),
        c => regex::escape(c.encode_utf8(&mut [0; 4])),
    };
    let set: String = inner[..end].chars().map(escaped).collect();
    regex.push_str(&format!("[{not}{set}]"));
    Some(&inner[end + 1..])
}

fn no_pattern(name: &str) -> Error {
    Error::invalid(format!("'{name}' is no pattern; wildcards are *, ?, [a-z], [!a-z] and **"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_shells() {
        let cases = [
            ("*.csv", "a.csv", true),
            ("*.csv", "b/a.csv", false),
            ("*.csv", "a.csv.gz", false),
            ("*/a.csv", "b/a.csv", true),
            ("*/a.csv", "a.csv", false),
            ("**/a.csv", "a.csv", true),
            ("**/a.csv", "b/c/a.csv", true),
            ("b/**/*.csv", "b/c/d/a.csv", true),
            ("b/**", "b/c/d", true),
            ("**/b/**/c/*", "x/b/y/b/c/z", true),
            ("**/b/**/c/*", "x/b/y/z", false),
            ("part-?.csv", "part-ü.csv", true),
            ("part-?.csv", "part-10.csv", false),
            ("part-[0-3].csv", "part-2.csv", true),
            ("part-[!0-3].csv", "part-2.csv", false),
            ("[]a].csv", "].csv", true),
            ("[^a].csv", "^.csv", true),
            ("[-a].csv", "-.csv", true),
            ("[a.]+(b).csv", "a+(b).csv", true),
            ("year=*/a.csv", "year=2020/a.csv", true),
            ("*", "_a.csv", false),
            ("_*", "_a.csv", true),
            ("**/a.csv", ".git/a.csv", false),
            ("**/a.csv", "_year=1/a.csv", true),
            (".git/**", ".git/a.csv", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().fits(path), expected, "{pattern} {path}");
        }
        assert!(Pattern::parse("*.csv").unwrap().is_flat());
        assert!(!Pattern::parse("**").unwrap().is_flat());
    }

    #[test]
    fn a_bracket_that_is_not_closed_is_refused() {
        let error = Pattern::parse("a/part-[0.csv").unwrap_err();
        let expected = "'part-[0.csv' is no pattern; wildcards are *, ?, [a-z], [!a-z] and **";
        assert_eq!(error.message(), expected);
    }
}
