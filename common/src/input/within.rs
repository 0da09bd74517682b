//! Whether a file is one of an input's, told by its path alone: who checks what a plan reads does
//! not look at storage.
//!
//! Paths are taken apart as workers do where they list files. What is told here may be a little
//! more than they list: hidden files of a folder, and, for a path that has wildcards, a file or a
//! folder that is called so.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Position, Url};

use super::Location;
use crate::error::redact;

/// The longest name in a path. Longer ones are no files anywhere.
const MAX_NAME: usize = 1024;

/// The object store of files on a machine.
const LOCAL: &str = "file:///";

/// The files that an input can have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesOfInput {
    location: Location,
    /// The path of the input within its object store, name by name.
    names: Vec<String>,
}

impl FilesOfInput {
    /// Those of an input at a path, which a profile opens, if the path is one that workers can take
    /// apart.
    pub fn of(path: &str, profile: Option<&str>) -> Option<Self> {
        let (url, path) = take_apart(path)?;
        let names = path.split('/').filter(|name| !name.is_empty()).map(ToOwned::to_owned);
        let location = Location { url, profile: profile.map(ToOwned::to_owned) };
        Some(Self { location, names: names.collect() })
    }

    /// Whether the files are in this object store, which is opened with this profile.
    pub fn are_in(&self, location: &Location) -> bool {
        self.location == *location
    }

    /// Whether a file of the object store is one of them: the input itself, one below it, or one
    /// that fits it as a pattern.
    pub fn have(&self, path: &str) -> bool {
        let path: Vec<_> = path.split('/').collect();
        if path.iter().any(|name| is_no_name(name)) {
            return false;
        }
        let is_below = path.len() >= self.names.len()
            && self.names.iter().zip(&path).all(|(name, part)| name == part);
        is_below || fits(&self.names, &path)
    }

    /// Whether who lists the input comes to a file of the object store: to one of its files that
    /// nothing hides.
    pub fn would_list(&self, path: &str) -> bool {
        let own = self.names.iter().zip(path.split('/')).take_while(|(name, part)| name == part);
        self.have(path) && !path.split('/').skip(own.count()).any(is_hidden)
    }

    /// The object store that they are in.
    pub(crate) fn store(&self) -> &str {
        &self.location.url
    }
}

/// As somebody named the input, but for what may be a secret.
impl fmt::Display for FilesOfInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.location.shown(&self.names.join("/"))))
    }
}

/// Whether a file or a folder is passed over by who reads those of a folder.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_']) && !name.contains('=')
}

/// Whether it is none of a file or a folder, but leads elsewhere or nowhere.
pub(crate) fn is_no_name(name: &str) -> bool {
    matches!(name, "" | "." | "..") || name.len() > MAX_NAME
}

/// The URL of an object store without a path, and the path within it.
pub(crate) fn take_apart(path: &str) -> Option<(String, String)> {
    let Some((scheme, rest)) = path.split_once("://") else {
        return Some((LOCAL.to_owned(), local(path)?));
    };
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "file" => {
            // Wildcards and other signs would begin something else in a URL.
            let path = &rest[rest.find('/')?..];
            let url = Url::parse(&format!("{LOCAL}{}", escaped(path.trim_start_matches('/'))));
            Some((LOCAL.to_owned(), decoded(&url.ok()?)?))
        }
        "http" | "https" => {
            let url = Url::parse(path).ok()?;
            let location = format!("{}/", &url[..Position::BeforePath]);
            Some((location, decoded(&Url::parse(&format!("file://{}", url.path())).ok()?)?))
        }
        _ => {
            let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
            let location = Url::parse(&format!("{scheme}://{authority}/")).ok()?;
            Some((location.to_string(), key.to_owned()))
        }
    }
}

/// A local path with its `.` and `..` resolved by name.
fn local(path: &str) -> Option<String> {
    let url = Url::from_file_path(path).ok()?;
    decoded(&Url::parse(url.as_str()).ok()?)
}

fn escaped(path: &str) -> String {
    path.replace('?', "%3F").replace('#', "%23")
}

/// The path of a `file://` URL as files are called.
fn decoded(url: &Url) -> Option<String> {
    Some(url.to_file_path().ok()?.to_str()?.to_owned())
}

/// Whether a path fits a pattern, name by name; `**` is any number of folders.
fn fits(names: &[String], path: &[&str]) -> bool {
    // For each place in the path, whether the names so far can end there: linear in both.
    let mut ends = vec![false; path.len() + 1];
    ends[0] = true;
    for name in names {
        let mut next = vec![false; path.len() + 1];
        if name == "**" {
            let mut is_reached = false;
            for (end, next) in ends.iter().zip(&mut next) {
                is_reached |= *end;
                *next = is_reached;
            }
        } else {
            for (place, part) in path.iter().enumerate() {
                next[place + 1] = ends[place] && name_fits(name, part);
            }
        }
        ends = next;
    }
    ends[path.len()]
}

/// Whether a name fits a pattern of `*`, `?` and `[a-z]` or `[!a-z]`, as shells have them.
pub fn name_fits(pattern: &str, name: &str) -> bool {
    let Some(pieces) = pieces(pattern) else { return false };
    let name: Vec<_> = name.chars().collect();
    let (mut piece, mut at) = (0, 0);
    // The last `*`, and where what stands behind it was tried last.
    let mut star = None;
    while at < name.len() {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                star = Some((piece, at));
                piece += 1;
            }
            Some(one) if one.is(name[at]) => {
                piece += 1;
                at += 1;
            }
            _ => {
                let Some((any, tried)) = star else { return false };
                star = Some((any, tried + 1));
                (piece, at) = (any + 1, tried + 1);
            }
        }
    }
    pieces[piece..].iter().all(|piece| *piece == Piece::Any)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// `*`.
    Any,
    /// `?`.
    One,
    This(char),
    Set {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Piece {
    fn is(&self, letter: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::This(this) => *this == letter,
            Self::Set { not, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter)) != *not
            }
        }
    }
}

/// The pieces of a pattern; none if a bracket is not closed.
fn pieces(pattern: &str) -> Option<Vec<Piece>> {
    let (mut pieces, mut rest) = (Vec::new(), pattern);
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        pieces.push(match first {
            '*' => Piece::Any,
            '?' => Piece::One,
            '[' => {
                let (set, behind) = set(rest)?;
                rest = behind;
                set
            }
            other => Piece::This(other),
        });
    }
    Some(pieces)
}

/// A set of characters, of which the bracket that opens it is read, and what stands behind it.
fn set(text: &str) -> Option<(Piece, &str)> {
    let inner = text.strip_prefix(['!', '^']);
    let (not, inner) = (inner.is_some(), inner.unwrap_or(text));
    // A bracket that comes first is one of the set.
    let first = inner.chars().next()?.len_utf8();
    let end = first + inner[first..].find(']')?;
    let letters: Vec<_> = inner[..end].chars().collect();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < letters.len() {
        let (last, width) = match letters.get(at + 1..at + 3) {
            Some(['-', last]) => (*last, 3),
            _ => (letters[at], 1),
        };
        ranges.push((letters[at], last));
        at += width;
    }
    Some((Piece::Set { not, ranges }, &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &str) -> FilesOfInput {
        FilesOfInput::of(path, None).unwrap()
    }

    #[test]
    fn an_input_has_itself_what_is_below_it_and_what_fits_it() {
        for (input, path, expected) in [
            ("/data/a.csv", "data/a.csv", true),
            ("/data/a.csv", "data/a.csv.gz", false),
            ("/data/x/../a.csv", "data/a.csv", true),
            ("/data/", "data/b/a.csv", true),
            ("/data", "data2/a.csv", false),
            ("/data", "data/../etc/passwd", false),
            ("/data", "data//a.csv", false),
            ("/data", "data/./a.csv", false),
            ("/", "etc/passwd", true),
            ("/data/*.csv", "data/a.csv", true),
            ("/data/*.csv", "data/a.parquet", false),
            ("/data/*.csv", "data/b/a.csv", false),
            ("/data/**/*.csv", "data/b/c/a.csv", true),
            ("/data/**/*.csv", "data/a.csv", true),
            ("/data/part-?.csv", "data/part-ü.csv", true),
            ("/data/a b%20c/ü.csv", "data/a b%20c/ü.csv", true),
            ("file:///data/a%20b/part-?.csv", "data/a b/part-1.csv", true),
            ("file://localhost/data/*", "data/x", true),
            ("s3://bucket/a%20b/c#1.csv", "a%20b/c#1.csv", true),
            ("s3://bucket", "a/b.csv", true),
            ("https://example.com/a%20b/c.csv", "a b/c.csv", true),
        ] {
            assert_eq!(files(input).have(path), expected, "{input} {path}");
        }
    }

    #[test]
    fn who_lists_an_input_comes_to_nothing_that_is_hidden_below_it() {
        for (input, path, expected) in [
            ("/data/", "data/b/a.csv", true),
            ("/data/", "data/_b/a.csv", false),
            ("/data/", "data/b/.a.csv", false),
            ("/data/", "data/_b=1/a.csv", true),
            ("/data/_in/", "data/_in/a.csv", true),
            ("/data/**/*.csv", "data/.b/a.csv", false),
            ("/data/**/*.csv", "data/b/a.csv", true),
            ("/data/", "other/a.csv", false),
        ] {
            assert_eq!(files(input).would_list(path), expected, "{input} {path}");
        }
    }

    #[test]
    fn an_input_is_in_one_object_store_alone() {
        let at = |url: &str| Location { url: url.to_owned(), profile: None };
        for (input, url) in [
            ("/data/a.csv", "file:///"),
            ("S3://bucket/a", "s3://bucket/"),
            ("https://example.com/a.csv", "https://example.com/"),
        ] {
            assert!(files(input).are_in(&at(url)), "{input}");
            assert!(!files(input).are_in(&at("s3://other/")), "{input}");
            let profile = Some("p".to_owned());
            assert!(!files(input).are_in(&Location { profile, ..at(url) }), "{input}");
        }
    }

    #[test]
    fn names_fit_as_in_shells() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("part-[0-3].csv", "part-2.csv", true),
            ("part-[!0-3].csv", "part-2.csv", false),
            ("[]a].csv", "].csv", true),
            ("[^a].csv", "^.csv", true),
            ("[-a].csv", "-.csv", true),
            ("[a-].csv", "-.csv", true),
            ("[a", "[a", false),
            ("team-*", "team-", true),
            ("team-*", "Team-1", false),
            ("*", "", true),
        ] {
            assert_eq!(name_fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
