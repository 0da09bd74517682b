//! Places as jobs name them, taken in every way in which somebody here may read them.
//!
//! The ways of Lance, of object stores and of the system to read one text differ: in what is
//! decoded, and in whether `..` is resolved before links are followed or after. What is allowed is
//! allowed in all of them.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use super::{endpoint::canonical, files::by_name};

/// A place as a job names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One of this machine: all paths that it may mean. One that is not absolute is among them as
    /// it is.
    Local(Vec<PathBuf>),
    /// One behind a network.
    Url(Url),
    /// What only those understand who ask it.
    Other,
}

impl Place {
    /// What a text means: a URL if it is one, and else a path if it looks like one.
    pub(super) fn of(text: &str) -> Self {
        if Path::new(text).is_absolute() {
            return Self::Local(paths([text.to_owned()]));
        }
        match Url::parse(text) {
            Ok(url) if canonical(url.scheme()) == "file" => Self::Local(local(text, &url)),
            // With blanks in it, or without slashes, it may be read as one all the same.
            Ok(url) if text.contains("://") || url.has_host() => Self::Url(url),
            Ok(_) | Err(_) => Self::Other,
        }
    }

    /// The same for those who take all that is no URL for a path.
    pub(super) fn of_file(text: &str) -> Self {
        match Self::of(text) {
            Self::Other => Self::Local(vec![PathBuf::from(text)]),
            place => place,
        }
    }
}

/// All paths that the URL of a file may mean.
fn local(text: &str, url: &Url) -> Vec<PathBuf> {
    let rest = text.split_once(':').map_or("", |(_, rest)| rest);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let written = rest.strip_prefix("localhost").filter(|rest| rest.starts_with('/'));
    let written = written.unwrap_or(rest);
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    paths([written.to_owned(), decoded(written), url.path().to_owned(), decoded(url.path())])
}

/// Paths, each as the system resolves it and as URLs do.
fn paths<const N: usize>(written: [String; N]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for path in written.map(PathBuf::from) {
        if path.is_absolute() {
            paths.push(by_name(&path));
        }
        paths.push(path);
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let expected = expected.iter().map(PathBuf::from).collect();
        assert_eq!(Place::of(text), Place::Local(expected), "{text}");
    }

    #[test]
    fn a_place_of_this_machine_is_all_paths_that_it_may_mean() {
        check("/data/a.csv", &["/data/a.csv"]);
        check("/data/../etc", &["/data/../etc", "/etc"]);
        check("file:///data/a%20b", &["/data/a b", "/data/a%20b"]);
        check("file://localhost/data", &["/data"]);
        check("FILE:/etc/passwd", &["/etc/passwd"]);
        check("file+uring:///data/x", &["/data/x"]);
        check("file-object-store:///etc", &["/etc"]);
        let encoded = Place::of("file:///data/%2e%2e/etc");
        let Place::Local(paths) = encoded else { panic!("it is local") };
        assert!(paths.contains(&PathBuf::from("/etc")), "{paths:?}");
        // On another host, whatever is made of that.
        let Place::Local(paths) = Place::of("file://host/etc") else { panic!("it is local") };
        assert!(paths.contains(&PathBuf::from("host/etc")), "{paths:?}");
    }

    #[test]
    fn other_places_are_urls_or_what_only_some_understand() {
        assert_eq!(Place::of("s3://b/a"), Place::Url(Url::parse("s3://b/a").unwrap()));
        for text in ["s3:\t//b/a", "s3:/\n/b/a", " s3://b/a", "s\t3:/\t/b/a"] {
            assert_eq!(Place::of(text), Place::Url(Url::parse("s3://b/a").unwrap()), "{text:?}");
        }
        assert_eq!(Place::of("https:b/a"), Place::Url(Url::parse("https://b/a").unwrap()));
        assert_eq!(Place::of("host:6379"), Place::Other);
        assert_eq!(Place::of("a.lance"), Place::Other);
        assert_eq!(Place::of_file("a.lance"), Place::Local(vec![PathBuf::from("a.lance")]));
    }
}
