//! Where something is, told by its path alone: who compares what a job writes with what it reads
//! does not look at storage. Two names for one place (links, two endpoints of one bucket) are two
//! places here.

use crate::input::{FilesOfInput, Location, is_no_name, take_apart};

/// A place in an object store, or on a machine, name by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    store: String,
    names: Vec<String>,
}

impl Place {
    /// The place of an absolute path or a URL; none if it is neither, or may lead elsewhere.
    pub fn of(path: &str) -> Option<Self> {
        let (store, path) = take_apart(&usual(path))?;
        let path = match store.starts_with("file:") {
            true => path.trim_start_matches('/'),
            false => path.as_str(),
        };
        Self { store, names: Vec::new() }.below(path.trim_end_matches('/'))
    }

    /// The place of a file of an object store.
    pub fn of_file(location: &Location, path: &str) -> Option<Self> {
        Self::of(&location.url)?.below(path)
    }

    /// The place by a path from here.
    fn below(mut self, path: &str) -> Option<Self> {
        let names: Vec<_> = path.split('/').collect();
        if path.is_empty() {
            return Some(self);
        }
        if names.iter().any(|name| is_no_name(name)) {
            return None;
        }
        self.names.extend(names.into_iter().map(ToOwned::to_owned));
        Some(self)
    }

    /// Whether another is this one, or below it.
    pub fn holds(&self, other: &Self) -> bool {
        self.store == other.store && other.names.starts_with(&self.names)
    }

    /// Whether who lists an input comes to a file that is at this path from here.
    pub fn is_listed(&self, input: &FilesOfInput, file: &str) -> bool {
        let names = self.names.iter().map(String::as_str).chain([file]);
        Self::of(input.store()).is_some_and(|place| place.store == self.store)
            && input.would_list(&names.collect::<Vec<_>>().join("/"))
    }

    /// Whether both are one, or one is below the other.
    pub fn touches(&self, other: &Self) -> bool {
        self.holds(other) || other.holds(self)
    }
}

/// The same path under the usual one of several names of a scheme.
fn usual(path: &str) -> String {
    let Some((scheme, rest)) = path.split_once("://") else { return path.to_owned() };
    let scheme = scheme.to_ascii_lowercase();
    let scheme = match scheme.as_str() {
        "s3a" => "s3",
        "abfss" => "abfs",
        "file-object-store" | "file+uring" => "file",
        other => other,
    };
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place::of(path).unwrap_or_else(|| panic!("{path} is no place"))
    }

    #[test]
    fn a_place_holds_itself_and_what_is_below_it_by_whole_names() {
        for (path, other, expected) in [
            ("/data/out", "/data/out/", true),
            ("/data/out", "/data/out/a/b.parquet", true),
            ("/data/out", "/data/outer", false),
            ("/data/out", "/data", false),
            ("/", "/data", true),
            ("/data/x/../out", "file:///data/out/a%20b", true),
            ("file-object-store:///data/a.lance", "/data/a.lance", true),
            ("s3://bucket/a/", "s3a://bucket/a/b", true),
            ("s3://bucket", "s3://bucket/a", true),
            ("s3://bucket/a", "s3://other/a", false),
            ("s3://bucket/a", "/a", false),
        ] {
            assert_eq!(place(path).holds(&place(other)), expected, "{path} {other}");
        }
        assert!(place("/data/out/a").touches(&place("/data/out")));
        assert!(!place("/data/out/a").touches(&place("/data/out/b")));
    }

    #[test]
    fn a_file_is_found_by_its_object_store_and_its_path() {
        let at = |url: &str| Location { url: url.to_owned(), profile: None };
        let file = Place::of_file(&at("file:///"), "data/out/a b.csv");
        assert_eq!(file, Some(place("/data/out/a b.csv")));
        let file = Place::of_file(&at("s3://bucket/"), "out/a.csv");
        assert_eq!(file, Some(place("s3://bucket/out/a.csv")));
    }

    #[test]
    fn what_may_lead_elsewhere_is_no_place() {
        for path in ["out", "", "s3://bucket/a/../b", "s3://bucket//a", "s3://bucket/a//b"] {
            assert_eq!(Place::of(path), None, "{path}");
        }
    }
}
