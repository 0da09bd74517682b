//! The lists of what jobs may touch, as settings.

use std::path::PathBuf;

use keyloom_common::{bounds::Bounds, store::LANCE};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, canonical};
use crate::store::kind_words;

/// The schemes of places, by one name each, and the word for contents that travel with sessions.
const PLACES: [&str; 7] = ["file", "s3", "gs", "az", "http", "https", "memory"];

/// Those of them that no host is asked for.
const HERE: [&str; 2] = ["file", "memory"];

/// What jobs may make a worker read, or write to. A list that is absent allows everything, and an
/// empty one nothing. All workers of a cluster should have the same: a job is refused by whichever
/// it meets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// Where inputs, stores and outputs may be: `file`, `s3`, `gs`, `az`, `http`, `https`, `memory`
    /// (contents that travel with sessions) or the word for a kind of store. `s3a` is `s3`, `abfs`
    /// and `abfss` are `az`. Default all.
    pub schemes: Option<Vec<String>>,
    /// The folders that files may be in, as absolute paths or as `file://` URLs. Links are followed
    /// first: what a path leads to must be in one of them. Default any.
    pub roots: Option<Vec<String>>,
    /// The hosts and buckets that may be asked, as `s3://bucket/prefix` or `https://host:port`; `*`
    /// stands for any part of a host's or a bucket's name, and a prefix is of whole folders.
    /// Default any, but for those that a job names beside a storage profile: the profile's
    /// credentials go to no host that is not in this list.
    pub endpoints: Option<Vec<String>>,
}

impl AccessSettings {
    /// Checks whether all say what they may.
    pub(crate) fn check(&self, bounds: &mut Bounds) {
        let wrong = [
            ("schemes", self.schemes().err()),
            ("roots", self.roots().err()),
            ("endpoints", self.endpoints().err()),
        ];
        for (name, rule) in wrong {
            if let Some(rule) = rule {
                bounds.refuse(name, rule);
            }
        }
    }

    /// Whether jobs may read every file that the worker can, with what it keeps to itself.
    pub fn allows_any_file(&self) -> bool {
        let is_file = |scheme: &String| canonical(&scheme.to_ascii_lowercase()) == "file";
        let reads_files = self.schemes.as_ref().is_none_or(|schemes| schemes.iter().any(is_file));
        self.roots.is_none() && reads_files
    }

    /// The schemes by one name each.
    ///
    /// # Errors
    /// What they must be.
    pub(super) fn schemes(&self) -> Result<Option<Vec<String>>, String> {
        read_all(self.schemes.as_deref(), |scheme| {
            let one = scheme.to_ascii_lowercase();
            let one = canonical(&one);
            match known_schemes().any(|known| known == one) {
                true => Ok(one.to_owned()),
                false => {
                    let known = known_schemes().collect::<Vec<_>>().join(", ");
                    Err(format!("names out of {known}, not '{scheme}'"))
                }
            }
        })
    }

    /// What may be wrong with the roots, though it is no mistake for certain: they may be there
    /// later. It looks at the disk.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let roots = self.roots().ok().flatten().unwrap_or_default();
        let doubt = |root: PathBuf| {
            let shown = root.display();
            match root.try_exists() {
                Ok(true) => None,
                Ok(false) => Some(format!("access.roots: {shown} is not there")),
                Err(error) => Some(format!("access.roots: {shown} cannot be looked at: {error}")),
            }
        };
        roots.into_iter().filter_map(doubt).collect()
    }

    /// The roots as paths.
    ///
    /// # Errors
    /// What they must be.
    pub(super) fn roots(&self) -> Result<Option<Vec<PathBuf>>, String> {
        read_all(self.roots.as_deref(), |root| {
            let path = match root.strip_prefix("file://") {
                Some(path) => {
                    let decoded = percent_decode_str(path).decode_utf8().ok();
                    decoded.map(|path| PathBuf::from(path.into_owned()))
                }
                None => Some(PathBuf::from(root)),
            };
            let rule = || format!("absolute paths or file:/// URLs, not '{root}'");
            path.filter(|path| path.is_absolute()).ok_or_else(rule)
        })
    }

    /// The endpoints as patterns.
    ///
    /// # Errors
    /// What they must be.
    pub(super) fn endpoints(&self) -> Result<Option<Vec<Endpoint>>, String> {
        read_all(self.endpoints.as_deref(), |text| {
            let endpoint = Endpoint::parse(text)?;
            match asked_schemes().any(|known| known == endpoint.scheme()) {
                true => Ok(endpoint),
                false => {
                    let known = asked_schemes().collect::<Vec<_>>().join(", ");
                    let such = "such as \"s3://bucket/prefix\" or \"https://host\"";
                    Err(format!("places of {known}, {such}, not '{text}'"))
                }
            }
        })
    }
}

/// All that may be listed: a kind of store whose places are none of these has a word of its own.
/// Those of Lance are files and buckets.
fn known_schemes() -> impl Iterator<Item = &'static str> {
    let kinds = kind_words().filter(|kind| *kind != LANCE && !PLACES.contains(kind));
    PLACES.into_iter().chain(kinds)
}

/// All that may be asked at a host or a bucket: of a store of Lance also by its word, where an option
/// names a host alone.
fn asked_schemes() -> impl Iterator<Item = &'static str> {
    let places = PLACES.into_iter().filter(|place| !HERE.contains(place));
    places.chain(kind_words().filter(|kind| !PLACES.contains(kind)))
}

fn read_all<T>(
    list: Option<&[String]>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, String> {
    list.map(|list| list.iter().map(|one| read(one)).collect()).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(settings: &AccessSettings, expected: &str) {
        let error = Bounds::check(|bounds| {
            bounds.section("access", |bounds| settings.check(bounds));
        });
        assert_eq!(error.unwrap_err().message(), expected);
    }

    fn list(one: &str) -> Option<Vec<String>> {
        Some(vec![one.to_owned()])
    }

    #[test]
    fn what_is_no_rule_is_named_with_what_it_must_be() {
        // The last one is a kind of store of tests.
        let known = "file, s3, gs, az, http, https, memory, toy";
        for scheme in ["s3://", "fiel", "lance", ""] {
            let settings = AccessSettings { schemes: list(scheme), ..AccessSettings::default() };
            let rule = format!("names out of {known}, not '{scheme}'");
            check(&settings, &format!("setting access.schemes must be {rule}"));
        }
        for root in ["data", "s3://bucket", "file://host/data", ""] {
            let settings = AccessSettings { roots: list(root), ..AccessSettings::default() };
            let rule = format!("absolute paths or file:/// URLs, not '{root}'");
            check(&settings, &format!("setting access.roots must be {rule}"));
        }
        for endpoint in ["host:9000", "file:///data", "s3://", "https://host/a?b", "://host"] {
            let endpoints = list(endpoint);
            let settings = AccessSettings { endpoints, ..AccessSettings::default() };
            let rule =
                format!("such as \"s3://bucket/prefix\" or \"https://host\", not '{endpoint}'");
            check(&settings, &format!("setting access.endpoints must be {rule}"));
        }
        let known = "s3, gs, az, http, https, lance, toy";
        for endpoint in ["htps://host", "memory://a", "redis://cache:6379", "S4://bucket/a"] {
            let endpoints = list(endpoint);
            let settings = AccessSettings { endpoints, ..AccessSettings::default() };
            let such = "such as \"s3://bucket/prefix\" or \"https://host\"";
            let rule = format!("places of {known}, {such}, not '{endpoint}'");
            check(&settings, &format!("setting access.endpoints must be {rule}"));
        }
    }

    #[test]
    fn nothing_and_everything_are_allowed_by_lists_that_are_empty_or_absent() {
        let settings = AccessSettings { roots: Some(Vec::new()), ..AccessSettings::default() };
        assert_eq!(Bounds::check(|bounds| settings.check(bounds)), Ok(()));
        assert_eq!((settings.roots(), settings.schemes()), (Ok(Some(Vec::new())), Ok(None)));
    }

    #[test]
    fn any_file_is_allowed_unless_roots_or_schemes_say_otherwise() {
        let allows = |schemes: Option<Vec<String>>, roots: Option<Vec<String>>| {
            AccessSettings { schemes, roots, endpoints: None }.allows_any_file()
        };
        assert!(
            allows(None, None) && allows(list("File"), None) && allows(list("file+uring"), None)
        );
        assert!(!allows(list("s3"), None) && !allows(None, list("/data")));
        assert!(!allows(list("file"), Some(Vec::new())));
    }

    #[test]
    fn schemes_are_known_by_all_their_names() {
        let names = ["S3A", "abfss", "file+uring", "memory", "toy"].map(ToOwned::to_owned);
        let settings = AccessSettings { schemes: Some(names.into()), ..AccessSettings::default() };
        let known = ["s3", "az", "file", "memory", "toy"].map(ToOwned::to_owned);
        assert_eq!(settings.schemes(), Ok(Some(known.into())));
        for endpoint in ["S3A://bucket", "gs://bucket", "abfss://box@host", "toy://host:1"] {
            let endpoints = list(endpoint);
            let settings = AccessSettings { endpoints, ..AccessSettings::default() };
            assert_eq!(Bounds::check(|bounds| settings.check(bounds)), Ok(()), "{endpoint}");
        }
    }

    #[test]
    fn roots_that_are_not_there_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().display().to_string();
        let missing = folder.path().join("data").display().to_string();
        let roots = Some(vec![there, format!("file://{missing}")]);
        let settings = AccessSettings { roots, ..AccessSettings::default() };
        assert_eq!(settings.doubts(), [format!("access.roots: {missing} is not there")]);
        assert_eq!(AccessSettings::default().doubts(), [""; 0]);
    }

    #[test]
    fn roots_may_be_urls() {
        let settings =
            AccessSettings { roots: list("file:///data/a%20b"), ..AccessSettings::default() };
        assert_eq!(settings.roots(), Ok(Some(vec![PathBuf::from("/data/a b")])));
    }
}
