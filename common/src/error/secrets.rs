//! What may be a secret, and text without it: in the names of options, and in the places of inputs
//! and stores, which travel with plans and stand in messages.

use crate::secret::MASK;

/// Parts of names whose values are likely to be secrets.
const SECRETS: [&str; 8] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "connection_string",
];

/// Names that end in "key" whose values are none.
const NO_SECRETS: [&str; 2] = ["key", "on_duplicate_key"];

/// Whether the value of an option of such a name may be a secret: `auth_token`, `API_KEY`, but not
/// `batch_keys` or `key_prefix`.
pub fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if NO_SECRETS.contains(&name.as_str()) {
        return false;
    }
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric()).skip(1);
    SECRETS.iter().any(|part| name.contains(part))
        || words.any(|word| word == "key")
        || name.ends_with("key")
}

/// The value of an option as logs, messages and debug prints may show it: not at all, if its name
/// says that it may be a secret, and without a user or a query if it is a place.
pub fn shown_option(name: &str, value: &str) -> String {
    match may_be_secret(name) {
        true => MASK.to_owned(),
        false if holds_credentials(value) || value.contains("://") => redact(value),
        false => value.to_owned(),
    }
}

/// Whether a place may hold credentials: a user before a host, with or without a scheme, or an
/// option whose name says so.
pub fn holds_credentials(place: &str) -> bool {
    let has_user = match place.split_once("://") {
        Some((scheme, rest)) => uri_has_user(scheme, rest),
        None => has_user(place),
    };
    has_user || names_a_secret(place)
}

/// Schemes of Azure, in whose URIs a container stands where others have a user.
const WITH_CONTAINER: [&str; 2] = ["abfs", "abfss"];

/// Whether a URI, cut behind its scheme, has a user before its host.
pub fn uri_has_user(scheme: &str, rest: &str) -> bool {
    let has_password = || rest.split('@').next().is_some_and(|before| before.contains(':'));
    has_user(rest) && (!WITH_CONTAINER.contains(&scheme) || has_password())
}

/// Whether there is a user before a host, in what follows a scheme. A password may hold a slash; a path
/// rarely holds an `@`.
fn has_user(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    authority.contains('@') || (authority.contains(':') && rest.contains('@'))
}

/// Whether it says `password=…` or the like, between signs that stand between options.
fn names_a_secret(place: &str) -> bool {
    let options = place.split(['?', '&', ';', ' ']).filter_map(|option| option.split_once('='));
    options.map(|(name, _)| name).any(|name| !name.contains('/') && may_be_secret(name))
}

/// A URI, a path or a host without what may be a secret: user information and the query of a URI,
/// and what looks like them in what is none.
pub fn redact(uri: &str) -> String {
    match url::Url::parse(uri) {
        Ok(mut url) if url.has_host() => {
            // Neither can fail on a URL that has a host.
            if url.password().is_some() || !WITH_CONTAINER.contains(&url.scheme()) {
                let _ = url.set_username("");
            }
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Ok(_) | Err(_) => match uri.split_once("://") {
            // Of what no parser understands, all before the last `@` may be a secret.
            Some((scheme, rest)) => {
                let rest = after_user(rest);
                let path = rest.split_once('?').map_or(rest, |(path, _)| path);
                format!("{scheme}://{path}")
            }
            None => without_scheme(uri).to_owned(),
        },
    }
}

/// A path as it is, and a host without the user before it and without options that hold secrets.
fn without_scheme(place: &str) -> &str {
    let authority = place.split('/').next().unwrap_or_default();
    // A file may be called `a@b.csv`; users have passwords, and hosts have ports.
    let place = if authority.contains(':') && has_user(place) { after_user(place) } else { place };
    match place.find(['?', '&', ';', ' ']) {
        Some(end) if names_a_secret(place) => &place[..end],
        _ => place,
    }
}

fn after_user(rest: &str) -> &str {
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AZURE: &str = "abfss://box@account.dfs.core.windows.net/a";

    #[test]
    fn credentials_are_redacted() {
        assert_eq!(redact("s3://key:secret@bucket/a?token=x"), "s3://bucket/a");
        assert_eq!(redact("s3://key:se/cret@bucket/a?token=x"), "s3://bucket/a");
        assert_eq!(redact("file://key:secret@localhost/a?token=x"), "file://localhost/a");
        assert_eq!(redact("redis://host/0?password=x"), "redis://host/0");
        assert_eq!(redact("user:pass@host:6379"), "host:6379");
        assert_eq!(redact("user:pa/ss@host:6379/0"), "host:6379/0");
        assert_eq!(redact(":pass@host"), "host");
        assert_eq!(redact("host:6379?api_key=x"), "host:6379");
        assert_eq!(redact("host=h user=u Password=x"), "host=h");
    }

    #[test]
    fn paths_and_hosts_stay_as_they_are() {
        let plain = [
            "/data/a.lance",
            "file:///data/a.lance",
            "a@b.csv",
            "/data/a@b.csv",
            "a-?.csv",
            "localhost:6379",
            "/data/day=1/token=2/a.parquet",
        ];
        for place in plain {
            assert_eq!(redact(place), place);
        }
    }

    #[test]
    fn places_with_credentials_are_known() {
        let held = [
            "redis://u:p@h/0",
            "redis://u:p/w@h/0",
            "redis://h/0?password=x",
            "u:p@h:6379",
            "token@h",
            ":p@h",
            "h:1?API_KEY=x",
            "host=h;Pwd=x",
            "abfss://box:hunter2@host/a",
        ];
        for place in held {
            assert!(holds_credentials(place), "{place}");
        }
        let plain = [
            "redis://h/0",
            "h:6379",
            "/data/a@b",
            "./a@b",
            "h:1?db=2",
            "/data/token=2/a",
            "",
            AZURE,
        ];
        for place in plain {
            assert!(!holds_credentials(place), "{place}");
        }
        assert_eq!(redact(AZURE), AZURE);
        assert_eq!(redact("abfss://box:hunter2@host/a"), "abfss://host/a");
    }

    #[test]
    fn options_are_shown_without_what_may_be_a_secret() {
        assert_eq!(shown_option("aws_secret_access_key", "hunter2"), "***");
        assert_eq!(shown_option("Password", ""), "***");
        assert_eq!(shown_option("endpoint", "http://me:hunter2@host:1/"), "http://host:1/");
        assert_eq!(shown_option("server", "me:hunter2@host:1"), "host:1");
        for plain in ["us-east-1", "take", "", "a, b", "/data/a@b"] {
            assert_eq!(shown_option("row_path", plain), plain);
        }
    }

    #[test]
    fn names_tell_secrets() {
        for name in [
            "password",
            "Password",
            "AUTH_TOKEN",
            "passwd",
            "pwd",
            "api_key",
            "apiKey",
            "access_key_id",
            "client-secret",
            "azure_storage_connection_string",
        ] {
            assert!(may_be_secret(name), "{name}");
        }
        for name in ["batch_keys", "keys_at_once", "key_prefix", "key", "rows", "user"] {
            assert!(!may_be_secret(name), "{name}");
        }
    }
}
