//! The paths and URLs by which users name files.
//!
//! A local path is taken as it is, `file://` and web URLs are decoded, and the keys of other object
//! stores are taken as they are written, as those stores' own tools do.

use keyloom_common::{Error, ErrorCode, Result, error::redact};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use super::pattern::Pattern;
use crate::input::stores;

/// Where the files of an input are.
#[derive(Debug)]
pub(super) struct InputPath {
    /// The object store's URL, without a path.
    pub(super) url: String,
    /// A file, or the folder below which files are looked for.
    pub(super) base: Path,
    pub(super) target: Target,
}

/// What is named.
#[derive(Debug)]
pub(super) enum Target {
    /// A file, for there is no listing of others.
    File,
    /// A folder.
    Folder,
    /// A file, or if there is none a folder.
    Any,
    /// The files below the base that fit.
    Pattern(Pattern),
}

const LOCAL: &str = "file:///";

/// Whether a path or a URL is one of this machine.
pub(super) fn names_local(path: &str) -> bool {
    let scheme = path.split_once("://").map(|(scheme, _)| scheme);
    std::path::Path::new(path).is_absolute()
        || scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("file"))
}

impl InputPath {
    /// Takes an absolute path or a URL apart.
    ///
    /// # Errors
    /// `invalid` if it is neither, or holds what would be a secret in a plan.
    pub(super) fn parse(path: &str) -> Result<Self> {
        if std::path::Path::new(path).is_absolute() {
            return local(path);
        }
        let Some((scheme, rest)) = path.split_once("://") else {
            return Err(Error::invalid(format!("{path} is neither an absolute path nor a URL")));
        };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "file" => file(path),
            "http" | "https" => web(path),
            _ => {
                let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
                let url = format!("{scheme}://{authority}/");
                let url = stores::parse(&url)?;
                // URLs are read without the blanks and line ends in them: so what begins with one
                // could be a file of this machine, and pass for something else before.
                if url.scheme() != scheme {
                    return Err(Error::invalid(format!("{:?} is no URL", redact(path))));
                }
                check_user(&url, path)?;
                keyed(url.to_string(), key)
            }
        }
    }
}

fn local(path: &str) -> Result<InputPath> {
    // What exists is meant as it is, whatever characters it has.
    match std::fs::metadata(path) {
        Ok(found) => {
            let target = if found.is_dir() { Target::Folder } else { Target::File };
            Ok(InputPath { url: LOCAL.to_owned(), base: local_path(path)?, target })
        }
        Err(_) => {
            let (base, pattern) = split_pattern(path);
            let target = target(path, pattern)?;
            Ok(InputPath { url: LOCAL.to_owned(), base: local_path(base)?, target })
        }
    }
}

/// A local path with its `.` and `..` resolved by name.
fn local_path(path: &str) -> Result<Path> {
    let no_path = || Error::invalid(format!("{path} is no path"));
    let url = Url::from_file_path(path).map_err(|()| no_path())?;
    // Only what is parsed has its dots resolved.
    let url = Url::parse(url.as_str()).map_err(|_| no_path())?;
    Path::from_url_path(url.path()).map_err(|error| Error::invalid(error.to_string()))
}

fn file(path: &str) -> Result<InputPath> {
    let url = Url::parse(path).map_err(|error| not_a_url(path, &error))?;
    if url.host_str().is_some_and(|host| host != "localhost") {
        return Err(Error::invalid(format!("{} is on another host", redact(path))));
    }
    // A pattern may have a `?`, which begins a query in a URL.
    let encoded = path.split_once("://").map_or("", |(_, rest)| rest);
    let encoded = encoded.find('/').map_or("", |start| &encoded[start..]);
    let decoded = percent_decode_str(encoded).decode_utf8();
    let decoded =
        decoded.map_err(|_| Error::invalid(format!("{path} is not UTF-8 when decoded")))?;
    if url.query().is_some_and(is_parameter) && std::fs::metadata(&*decoded).is_err() {
        return Err(Error::invalid(format!(
            "{} has parameters behind `?`, which no file takes; encode `?` as %3F if it is in the \
             file's name",
            redact(path)
        )));
    }
    local(&decoded)
}

/// Whether what stands behind a `?` is no part of a pattern.
fn is_parameter(query: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    query.split_once('=').is_some_and(|(name, _)| is_name(name))
}

fn web(path: &str) -> Result<InputPath> {
    let url = Url::parse(path).map_err(|error| not_a_url(path, &error))?;
    check_user(&url, path)?;
    if url.query().is_some() {
        return Err(Error::invalid(
            "a URL with a query is not taken: plans would hold the secret that may be in it; use \
             s3://, gs:// or az:// with a storage profile, or a URL without `?`",
        )
        .with_code(ErrorCode::StorageProfile));
    }
    if url.path().ends_with('/') || split_pattern(url.path()).1.is_some() {
        return Err(Error::invalid(
            "a web server does not list its files; name one file, and encode `*`, `[` and `]` if \
             they are in its name",
        ));
    }
    let base =
        Path::from_url_path(url.path()).map_err(|error| Error::invalid(error.to_string()))?;
    let url = format!("{}/", &url[..Position::BeforePath]);
    Ok(InputPath { url, base, target: Target::File })
}

fn keyed(url: String, key: &str) -> Result<InputPath> {
    let (base, pattern) = split_pattern(key);
    let target = target(key, pattern)?;
    let base = Path::parse(base).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(InputPath { url, base, target })
}

fn target(path: &str, pattern: Option<&str>) -> Result<Target> {
    match pattern {
        Some(pattern) => Pattern::parse(pattern).map(Target::Pattern),
        None if path.is_empty() || path.ends_with('/') => Ok(Target::Folder),
        None => Ok(Target::Any),
    }
}

/// A path up to its first folder or name with a wildcard, and the rest.
fn split_pattern(path: &str) -> (&str, Option<&str>) {
    match path.find(['*', '?', '[']) {
        None => (path, None),
        Some(wildcard) => {
            let start = path[..wildcard].rfind('/').map_or(0, |slash| slash + 1);
            (&path[..start], Some(&path[start..]))
        }
    }
}

/// Refuses users and passwords. Azure's URLs have the container where others have the user.
fn check_user(url: &Url, path: &str) -> Result<()> {
    let is_container = matches!(url.scheme(), "az" | "abfs" | "abfss");
    if url.password().is_some() || (!url.username().is_empty() && !is_container) {
        return Err(Error::invalid(format!(
            "{} is given with a user or password, which plans would hold; put them into a storage \
             profile of the workers",
            redact(path)
        )));
    }
    Ok(())
}

fn not_a_url(path: &str, error: &url::ParseError) -> Error {
    Error::invalid(format!("{} is no URL: {error}", redact(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> (String, String, String) {
        let InputPath { url, base, target } =
            InputPath::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let target = match target {
            Target::File => "file".to_owned(),
            Target::Folder => "folder".to_owned(),
            Target::Any => "any".to_owned(),
            Target::Pattern(pattern) => format!("pattern {pattern}"),
        };
        (url, base.to_string(), target)
    }

    #[test]
    fn paths_and_urls_are_taken_apart() {
        let cases = [
            ("/no/such/file.csv", "file:///", "no/such/file.csv", "any"),
            ("/no/such/folder/", "file:///", "no/such/folder", "folder"),
            ("/no/such/../a b%20c/ü.csv", "file:///", "no/a b%20c/ü.csv", "any"),
            ("/no/such/*/part-?.csv", "file:///", "no/such", "pattern */part-?.csv"),
            ("file:///no/a%20b/x%25.csv", "file:///", "no/a b/x%.csv", "any"),
            ("file://localhost/no/part-?.csv", "file:///", "no", "pattern part-?.csv"),
            ("file:///no/day=?/a=1/x.csv", "file:///", "no", "pattern day=?/a=1/x.csv"),
            ("file:///no/x.csv%3Fx=1", "file:///", "no", "pattern x.csv?x=1"),
            ("s3://bucket/a%20b/c d#1.csv", "s3://bucket/", "a%20b/c d#1.csv", "any"),
            ("S3://bucket/a/", "s3://bucket/", "a", "folder"),
            ("s3://bucket", "s3://bucket/", "", "folder"),
            ("s3a://bucket/a/part-?.csv", "s3a://bucket/", "a", "pattern part-?.csv"),
            ("gs://bucket/**/[ab].parquet", "gs://bucket/", "", "pattern **/[ab].parquet"),
            (
                "abfss://box@me.dfs.core.windows.net/a",
                "abfss://box@me.dfs.core.windows.net/",
                "a",
                "any",
            ),
            ("https://example.com/a%20b/c.csv", "https://example.com/", "a b/c.csv", "file"),
            ("http://localhost:8000/c.csv", "http://localhost:8000/", "c.csv", "file"),
        ];
        for (path, url, base, target) in cases {
            assert_eq!(
                parsed(path),
                (url.to_owned(), base.to_owned(), target.to_owned()),
                "{path}"
            );
        }
    }

    #[test]
    fn secrets_and_listings_of_web_servers_are_refused() {
        let cases = [
            ("https://example.com/a.csv?sig=secret", "a URL with a query is not taken"),
            (
                "https://me:secret@example.com/a.csv",
                "https://example.com/a.csv is given with a user",
            ),
            ("s3://me:secret@bucket/a.csv", "s3://bucket/a.csv is given with a user"),
            ("https://example.com/folder/", "a web server does not list its files"),
            ("https://example.com/*.csv", "a web server does not list its files"),
            ("hdfs://name/a.csv", "inputs are read from local paths, file://, s3://"),
            ("file://other/a.csv", "file://other/a.csv is on another host"),
            ("file:///no/x.csv?x=1#y", "file:///no/x.csv"),
            ("a.csv", "a.csv is neither an absolute path nor a URL"),
            (" file:///etc/passwd", "\" file:///etc/passwd\" is no URL"),
            ("\nfile:///etc/passwd", "\"\\nfile:///etc/passwd\" is no URL"),
            ("fi\tle:///etc/passwd", "\"fi\\tle:///etc/passwd\" is no URL"),
            (" https://example.com/a.csv", "\"https://example.com/a.csv\" is no URL"),
        ];
        for (path, start) in cases {
            let error = InputPath::parse(path).unwrap_err();
            assert!(error.message().starts_with(start), "{path}: {error}");
            assert!(!error.message().contains("secret@") && !error.message().contains("sig="));
        }
    }
    #[test]
    fn parameters_of_a_file_are_refused_unless_they_are_in_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let shown = folder.path().display();
        let (plain, odd) = (format!("{shown}/x.csv"), format!("{shown}/x.csv?x=1#y"));
        std::fs::write(plain, "a\n1\n").unwrap();
        let error = InputPath::parse(&format!("file://{odd}")).unwrap_err();
        assert!(error.message().contains(" has parameters behind `?`"), "{error}");
        std::fs::write(&odd, "a\n1\n").unwrap();
        let InputPath { base, target, .. } = InputPath::parse(&format!("file://{odd}")).unwrap();
        assert!(base.to_string().ends_with("/x.csv?x=1#y") && matches!(target, Target::File));
    }
}
