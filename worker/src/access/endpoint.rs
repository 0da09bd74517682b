//! Patterns of hosts and buckets that jobs may ask.

use url::Url;

/// A pattern of hosts or buckets, and perhaps of folders within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    scheme: String,
    /// A host with its port, a bucket, or a container at an account; `*` stands for any characters.
    authority: String,
    /// Without slashes at its ends. Empty for all.
    prefix: String,
}

impl Endpoint {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What it must be.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rule = || format!("such as \"s3://bucket/prefix\" or \"https://host\", not '{text}'");
        let (scheme, rest) = text.split_once("://").ok_or_else(rule)?;
        let scheme = canonical(&scheme.to_ascii_lowercase()).to_owned();
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let is_path = prefix.split('/').any(|part| matches!(part, "." | ".."));
        if scheme.is_empty()
            || scheme == "file"
            || authority.is_empty()
            || rest.contains(['?', '#'])
            || is_path
        {
            return Err(rule());
        }
        let authority = match scheme.as_str() {
            // As URLs have them once they are parsed.
            "http" => authority.strip_suffix(":80").unwrap_or(authority).to_ascii_lowercase(),
            "https" => authority.strip_suffix(":443").unwrap_or(authority).to_ascii_lowercase(),
            _ => authority.to_owned(),
        };
        Ok(Self { scheme, authority, prefix: prefix.to_owned() })
    }

    /// One name for what is asked by it.
    pub(super) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether it stands for a place: a folder, or what is in it.
    pub(super) fn fits(&self, scheme: &str, authority: &str, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        let within = path.strip_prefix(self.prefix.as_str());
        let within = within
            .is_some_and(|rest| self.prefix.is_empty() || rest.is_empty() || rest.starts_with('/'));
        // A name that leads elsewhere to whoever resolves it is within nothing.
        let is_plain =
            self.prefix.is_empty() || path.split('/').all(|part| !matches!(part, "." | ".."));
        self.scheme == canonical(scheme) && fits(&self.authority, authority) && within && is_plain
    }
}

/// What a URL has between its scheme and its path, but for a password.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let user = match url.username() {
        "" => String::new(),
        user => format!("{user}@"),
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}

/// One name for schemes that mean the same.
pub(super) fn canonical(scheme: &str) -> &str {
    match scheme {
        "s3a" => "s3",
        "abfs" | "abfss" => "az",
        "file-object-store" | "file+uring" => "file",
        scheme => scheme,
    }
}

/// Whether a text fits a pattern in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let (between, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in between.split('*').filter(|part| !part.is_empty()) {
        let Some(place) = text.find(part) else { return false };
        text = &text[place + part.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, url: &str, expected: bool) {
        let endpoint = Endpoint::parse(pattern).unwrap();
        let url = Url::parse(url).unwrap();
        let fits = endpoint.fits(url.scheme(), &authority(&url), url.path());
        assert_eq!(fits, expected, "{pattern} {url}");
    }

    #[test]
    fn hosts_and_buckets_fit_as_a_whole() {
        check("s3://bucket", "s3://bucket/any/thing", true);
        check("s3://bucket", "s3a://bucket/any", true);
        check("s3://bucket", "s3://bucket2/any", false);
        check("s3://bucket", "gs://bucket/any", false);
        check("https://host", "https://host/a", true);
        check("https://HOST:443", "https://host/a", true);
        check("https://host", "http://host/a", false);
        check("https://host", "https://host:8443/a", false);
        check("https://host:8443", "https://host:8443/a", true);
        check("https://host", "https://host.evil.example/a", false);
        check("https://host", "https://me@host/a", false);
        check("abfss://box@me.dfs.core.windows.net", "abfss://box@me.dfs.core.windows.net/a", true);
        check(
            "abfss://box@me.dfs.core.windows.net",
            "abfss://box@you.dfs.core.windows.net/a",
            false,
        );
    }

    #[test]
    fn stars_stand_for_any_part_of_a_name() {
        check("https://*.example.com", "https://a.b.example.com/x", true);
        check("https://*.example.com", "https://example.com/x", false);
        check("https://*.example.com", "https://a.example.com.evil.org/x", false);
        check("s3://team-*-data", "s3://team-a-data/x", true);
        check("s3://team-*-data", "s3://team-data/x", false);
        check("s3://a*b*c", "s3://axbxc/x", true);
        check("s3://a*b*c", "s3://axc/x", false);
        check("s3://*", "s3://anything/x", true);
    }

    #[test]
    fn prefixes_are_of_whole_folders() {
        check("s3://bucket/a/b/", "s3://bucket/a/b", true);
        check("s3://bucket/a/b", "s3://bucket/a/b/c.csv", true);
        check("s3://bucket/a/b", "s3://bucket/a/bc", false);
        check("s3://bucket/a/b", "s3://bucket/a", false);
        let endpoint = Endpoint::parse("s3://bucket/a").unwrap();
        assert!(!endpoint.fits("s3", "bucket", "a/../b"));
        assert!(endpoint.fits("s3", "bucket", "/a/b"));
    }
}
