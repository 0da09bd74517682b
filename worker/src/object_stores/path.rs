//! The paths and URLs by which users name files and folders.
//!
//! A local path is taken as it is, `file://` and web URLs are decoded, and the keys of other object
//! stores are taken as they are written, as those stores' own tools do.

pub(crate) use keyloom_common::input::is_hidden;
use keyloom_common::{Error, Result, error::redact};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use url::Url;

use super::parse;

/// The URL of this machine's files.
pub(crate) const LOCAL: &str = "file:///";

/// What a path or a URL names.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    /// An absolute path of this machine.
    Local(String),
    /// What a web server has.
    Web(Url),
    /// A key, or the start of keys, in an object store.
    Keyed {
        /// The object store's URL, without a path.
        url: String,
        /// As it is written.
        key: String,
    },
}

impl Named {
    /// Takes an absolute path or a URL apart.
    ///
    /// # Errors
    /// `invalid` if it is neither, or holds what would be a secret in a plan.
    pub(crate) fn parse(path: &str) -> Result<Self> {
        if std::path::Path::new(path).is_absolute() {
            return Ok(Self::Local(path.to_owned()));
        }
        let Some((scheme, rest)) = path.split_once("://") else {
            return Err(Error::invalid(format!("{path} is neither an absolute path nor a URL")));
        };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "file" => file(path).map(Self::Local),
            "http" | "https" => {
                let url = Url::parse(path).map_err(|error| not_a_url(path, &error))?;
                check_user(&url, path)?;
                Ok(Self::Web(url))
            }
            _ => {
                let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
                let url = parse(&format!("{scheme}://{authority}/"))?;
                // URLs are read without the blanks and line ends in them: so what begins with one
                // could be a file of this machine, and pass for something else before.
                if url.scheme() != scheme {
                    return Err(Error::invalid(format!("{:?} is no URL", redact(path))));
                }
                check_user(&url, path)?;
                Ok(Self::Keyed { url: url.to_string(), key: key.to_owned() })
            }
        }
    }
}

/// Whether a path or a URL is one of this machine.
pub(crate) fn names_local(path: &str) -> bool {
    let scheme = path.split_once("://").map(|(scheme, _)| scheme);
    std::path::Path::new(path).is_absolute()
        || scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("file"))
}

/// A local path with its `.` and `..` resolved by name.
///
/// # Errors
/// `invalid` if it is no path.
pub(crate) fn local_path(path: &str) -> Result<Path> {
    let no_path = || Error::invalid(format!("{path} is no path"));
    let url = Url::from_file_path(path).map_err(|()| no_path())?;
    // Only what is parsed has its dots resolved.
    let url = Url::parse(url.as_str()).map_err(|_| no_path())?;
    Path::from_url_path(url.path()).map_err(|error| Error::invalid(error.to_string()))
}

/// A path from a folder on, if there is anything.
pub(crate) fn below<'a>(base: &Path, path: &'a Path) -> Option<&'a str> {
    let rest = path.as_ref().strip_prefix(base.as_ref())?;
    let rest = if base.is_root() { rest } else { rest.strip_prefix('/')? };
    (!rest.is_empty()).then_some(rest)
}

fn file(path: &str) -> Result<String> {
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
    Ok(decoded.into_owned())
}

/// Whether what stands behind a `?` is no part of a pattern.
fn is_parameter(query: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    query.split_once('=').is_some_and(|(name, _)| is_name(name))
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
