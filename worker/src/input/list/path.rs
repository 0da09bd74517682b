//! The files that users name by a path or a URL: one, those of a folder, or those that fit a
//! pattern.

use keyloom_common::{Error, ErrorCode, Result};
use object_store::path::Path;
use url::{Position, Url};

use super::pattern::Pattern;
use crate::object_stores::path::{LOCAL, Named, local_path};

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

impl InputPath {
    /// Takes an absolute path or a URL apart.
    ///
    /// # Errors
    /// `invalid` if it is neither, or holds what would be a secret in a plan.
    pub(super) fn parse(path: &str) -> Result<Self> {
        match Named::parse(path)? {
            Named::Local(path) => local(&path),
            Named::Web(url) => web(&url),
            Named::Keyed { url, key } => keyed(url, &key),
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

fn web(url: &Url) -> Result<InputPath> {
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
