//! Storage options: those of a profile, completed by the worker's environment, in the terms of
//! object_store.
//!
//! The same profiles open Lance datasets. What Lance alone understands is passed over here by name;
//! what nobody understands is refused, for a misspelt option would be missed in silence.

use std::{collections::HashMap, hash::Hash, str::FromStr, time::Duration};

use keyloom_common::{Error, ErrorCode, Result};
use object_store::{
    ClientOptions, HeaderMap, RetryConfig, aws::AmazonS3ConfigKey, azure::AzureConfigKey,
    gcp::GoogleConfigKey,
};

use crate::store::{Patience, ReadProfile, is_credential, lance::Scrub};

/// Options of Lance that say nothing about how an object store is reached.
const OF_LANCE: [&str; 6] = [
    "aws_provider_scheme",
    "block_size",
    "download_retry_count",
    "expires_at_millis",
    "refresh_offset_millis",
    "use_opendal",
];

/// Where options come from.
#[derive(Clone, Copy)]
pub(super) enum Profile<'a> {
    /// The worker's environment alone.
    Environment,
    /// A profile of the worker's settings. The environment gives what it does not.
    Named { name: &'a str, profile: &'a ReadProfile },
}

impl Profile<'_> {
    /// Whether the machine's own identity is meant, and nothing else.
    fn cloud(&self) -> bool {
        matches!(self, Self::Named { profile, .. } if profile.cloud)
    }

    /// How messages call it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Environment => {
                "with the worker's environment, without a storage profile".to_owned()
            }
            Self::Named { name, .. } => format!("with storage profile '{name}'"),
        }
    }
}

/// What is particular to the options of a provider.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name in messages.
    pub(super) name: &'static str,
    /// How its variables in the environment start.
    pub(super) prefix: &'static str,
    /// Other variables in the environment, and what they are called as options.
    pub(super) variables: &'static [(&'static str, &'static str)],
    /// Options that only make sense from one source: if a profile has one of them, none of the
    /// others is taken from the environment.
    pub(super) together: &'static [&'static [&'static str]],
    /// The options that are most in use.
    pub(super) common: &'static str,
}

/// The options with which an object store is opened.
pub(super) struct Options<K> {
    /// Those that its builder knows.
    pub(super) known: HashMap<K, String>,
    /// The client, with the headers of `headers.…`.
    pub(super) client: ClientOptions,
    pub(super) retry: RetryConfig,
    /// The bearer token of `google_storage_token`.
    pub(super) token: Option<String>,
    /// Keeps the values of all of them out of messages.
    pub(super) scrub: Scrub,
}

impl<K: FromStr + AsRef<str> + Eq + Hash> Options<K> {
    /// Sorts the options of a profile. What it does not say about waiting is as the worker's
    /// settings have it.
    ///
    /// # Errors
    /// `invalid` if an option is unknown, or its value is none.
    pub(super) fn new(
        family: &Family,
        profile: &Profile<'_>,
        environment: impl Iterator<Item = (String, String)>,
        patience: Patience,
    ) -> Result<Self> {
        let mut sorted = Sorted::default();
        if let Profile::Named { name, profile } = profile {
            let secrets = profile.secrets().map(|(name, value)| (name.clone(), value.clone()));
            sorted.secrets.extend(secrets);
            for (option, value) in &profile.options {
                sorted.sort::<K>(family, option, value).map_err(|error| {
                    let error = error.context(format_args!("storage profile '{name}'"));
                    error.with_code(ErrorCode::StorageProfile)
                })?;
            }
        }
        let mut known: HashMap<K, String> = pick(sorted.known);
        let variables =
            environment.filter_map(|(name, value)| Some((option(family, &name)?, value)));
        let mut added: HashMap<K, String> =
            pick(variables.filter(|(_, value)| !value.is_empty()).collect());
        added.retain(|key, _| {
            let is_key = profile.cloud() && is_credential(key.as_ref());
            !is_key && !known.keys().any(|given| belong(family, given.as_ref(), key.as_ref()))
        });
        let secrets = added.iter().map(|(key, value)| (key.as_ref().to_owned(), value.clone()));
        sorted.secrets.extend(secrets);
        known.extend(added);
        let headers = HeaderMap::try_from(&sorted.headers)
            .map_err(|error| Error::invalid(format!("option headers.…: {error}")))?;
        let secrets = sorted.secrets.iter().map(|(name, value)| (name, value));
        Ok(Self {
            known,
            client: ClientOptions::new()
                .with_connect_timeout(patience.connect())
                .with_timeout(patience.whole_request())
                .with_default_headers(headers),
            retry: RetryConfig {
                max_retries: sorted.retries.unwrap_or(patience.retries() as usize),
                retry_timeout: sorted.retry_timeout.unwrap_or(patience.whole_request()),
                ..RetryConfig::default()
            },
            token: sorted.token,
            scrub: Scrub::new("", secrets),
        })
    }
}

/// A profile's options by who understands them.
#[derive(Default)]
struct Sorted {
    known: Vec<(String, String)>,
    headers: HashMap<String, String>,
    retries: Option<usize>,
    retry_timeout: Option<Duration>,
    token: Option<String>,
    /// All of them, under names by which secrets are told.
    secrets: Vec<(String, String)>,
}

impl Sorted {
    fn sort<K: FromStr>(&mut self, family: &Family, option: &str, value: &str) -> Result<()> {
        let name = option.to_ascii_lowercase();
        let number = || {
            let error = |_| Error::invalid(format!("option '{option}' is a number, not '{value}'"));
            value.trim().parse::<u32>().map_err(error)
        };
        self.secrets.push((name.clone(), value.to_owned()));
        if K::from_str(&name).is_ok() {
            self.known.push((name, value.to_owned()));
        } else if let Some(header) = name.strip_prefix("headers.") {
            // Headers may hold anything.
            self.secrets.push(("header token".to_owned(), value.to_owned()));
            self.headers.insert(header.to_owned(), value.to_owned());
        } else if name == "client_max_retries" {
            self.retries = Some(number()? as usize);
        } else if name == "client_retry_timeout" {
            self.retry_timeout = Some(Duration::from_secs(number()?.into()));
        } else if name == "google_storage_token" {
            self.token = Some(value.to_owned());
        } else if !is_of_lance(&name) && !is_of_another(&name) {
            return Err(Error::invalid(format!(
                "unknown option '{option}'; known are {} and what else object_store or Lance call \
                 options of {}",
                family.common, family.name
            )));
        }
        Ok(())
    }
}

fn is_of_lance(name: &str) -> bool {
    let of_base = || name.strip_prefix("base_").is_some_and(|rest| rest.contains('.'));
    OF_LANCE.contains(&name) || name.starts_with("lance_") || of_base()
}

/// Whether it is of another provider by its name: a profile may serve several.
fn is_of_another(name: &str) -> bool {
    match name.split_once('_') {
        Some(("aws", _)) => AmazonS3ConfigKey::from_str(name).is_ok(),
        Some(("azure", _)) => AzureConfigKey::from_str(name).is_ok(),
        Some(("google", _)) => GoogleConfigKey::from_str(name).is_ok(),
        _ => false,
    }
}

/// What a variable in the environment is called as an option.
fn option(family: &Family, variable: &str) -> Option<String> {
    let other = family.variables.iter().find(|(name, _)| *name == variable);
    match other {
        Some((_, option)) => Some((*option).to_owned()),
        None if family.prefix.is_empty() || !variable.starts_with(family.prefix) => None,
        None => Some(variable.to_ascii_lowercase()),
    }
}

fn belong(family: &Family, one: &str, other: &str) -> bool {
    one == other || family.together.iter().any(|all| all.contains(&one) && all.contains(&other))
}

/// Options by what they mean. Of several names for one, the first that counts is object_store's
/// own, then the first by the alphabet, as for Lance.
fn pick<K: FromStr + AsRef<str> + Eq + Hash>(named: Vec<(String, String)>) -> HashMap<K, String> {
    let parsed = named.into_iter().filter_map(|(name, value)| {
        let key = K::from_str(&name).ok()?;
        let rank = (name != key.as_ref(), name);
        Some((rank, key, value))
    });
    let mut parsed: Vec<_> = parsed.collect();
    parsed.sort_by(|(one, ..), (other, ..)| other.cmp(one));
    parsed.into_iter().map(|(_, key, value)| (key, value)).collect()
}

#[cfg(test)]
mod tests {
    use object_store::ClientConfigKey;

    use super::*;
    use crate::{
        object_stores::open::S3,
        store::{StorageProfile, StoreSettings},
    };

    type Environment<'a> = &'a [(&'a str, &'a str)];

    fn options(
        profile: Option<&[(&str, &str)]>,
        environment: Environment<'_>,
    ) -> Result<Options<AmazonS3ConfigKey>> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let given: StorageProfile = profile.unwrap_or_default().iter().map(owned).collect();
        let given = given.read("p")?;
        let profile = match profile {
            Some(_) => Profile::Named { name: "p", profile: &given },
            None => Profile::Environment,
        };
        let patience = Patience::of(&StoreSettings::default());
        Options::new(&S3, &profile, environment.iter().map(owned), patience)
    }

    fn value(options: &Options<AmazonS3ConfigKey>, name: &str) -> Option<String> {
        options.known.get(&name.parse().unwrap()).cloned()
    }

    #[test]
    fn options_of_lance_are_mapped_or_passed_over() {
        let options = options(
            Some(&[
                ("AWS_Region", "eu-west-1"),
                ("client_max_retries", "7"),
                ("client_retry_timeout", "9"),
                ("download_retry_count", "2"),
                ("lance_aimd_initial_rate", "1"),
                ("base_1.aws_region", "x"),
                ("azure_storage_account_name", "other"),
                ("timeout", "3s"),
            ]),
            &[],
        );
        let options = options.unwrap();
        assert_eq!(value(&options, "region"), Some("eu-west-1".to_owned()));
        assert_eq!(options.retry.max_retries, 7);
        assert_eq!(options.retry.retry_timeout, Duration::from_secs(9));
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        assert_eq!(options.known.get(&timeout).map(String::as_str), Some("3s"));
        assert_eq!(options.known.len(), 2);
    }

    #[test]
    fn values_and_names_that_make_no_sense_are_refused() {
        let message = |options: Result<Options<AmazonS3ConfigKey>>| match options {
            Ok(_) => panic!("taken"),
            Err(error) => error.message().to_owned(),
        };
        assert_eq!(
            message(options(Some(&[("client_max_retries", "many")]), &[])),
            "storage profile 'p': option 'client_max_retries' is a number, not 'many'"
        );
        let unknown = message(options(Some(&[("acess_key_id", "secret")]), &[]));
        assert!(unknown.starts_with("storage profile 'p': unknown option 'acess_key_id'; known"));
        assert!(!unknown.contains("secret,"), "{unknown}");
        let header = message(options(Some(&[("headers.not a name", "x")]), &[]));
        assert!(header.starts_with("option headers.…: "), "{header}");
    }

    #[test]
    fn the_environment_gives_what_a_profile_does_not() {
        let environment: Environment<'_> = &[
            ("AWS_ACCESS_KEY_ID", "theirs"),
            ("AWS_SECRET_ACCESS_KEY", "theirs"),
            ("AWS_SESSION_TOKEN", "theirs"),
            ("AWS_ENDPOINT_URL_S3", "http://theirs"),
            ("AWS_REGION", "their-region"),
            ("AWS_PROFILE", "unknown to object_store"),
            ("AWS_ALLOW_HTTP", ""),
            ("AZURE_CLIENT_ID", "another provider's"),
        ];
        let alone = options(None, environment).unwrap();
        assert_eq!(alone.known.len(), 5);
        assert_eq!(value(&alone, "aws_session_token"), Some("theirs".to_owned()));

        let keys = &[("access_key_id", "ours"), ("secret_access_key", "ours")];
        let keys = options(Some(keys), environment).unwrap();
        assert_eq!(value(&keys, "aws_access_key_id"), Some("ours".to_owned()));
        assert_eq!(value(&keys, "aws_session_token"), None);
        assert_eq!(value(&keys, "aws_region"), Some("their-region".to_owned()));

        let endpoint = options(Some(&[("endpoint", "http://ours")]), environment).unwrap();
        assert_eq!(value(&endpoint, "aws_endpoint_url_s3"), None);
        assert_eq!(value(&endpoint, "aws_endpoint"), Some("http://ours".to_owned()));
        assert_eq!(value(&endpoint, "aws_access_key_id"), Some("theirs".to_owned()));
    }

    #[test]
    fn the_machines_own_identity_takes_no_keys_of_the_environment() {
        let environment: Environment<'_> = &[
            ("AWS_ACCESS_KEY_ID", "theirs"),
            ("AWS_SECRET_ACCESS_KEY", "theirs"),
            ("AWS_SESSION_TOKEN", "theirs"),
            ("AWS_SKIP_SIGNATURE", "true"),
            ("AWS_REGION", "their-region"),
            ("AWS_ROLE_ARN", "role"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2"),
        ];
        let cloud = options(Some(&[("credentials", "cloud")]), environment).unwrap();
        let mut known: Vec<&str> = cloud.known.keys().map(AsRef::as_ref).collect();
        known.sort_unstable();
        let identity = [
            "aws_container_credentials_relative_uri",
            "aws_region",
            "aws_role_arn",
            "aws_web_identity_token_file",
        ];
        assert_eq!(known, identity);
        let beside = options(Some(&[("credentials", "cloud"), ("aws_token", "ours")]), &[]);
        let message = "storage profile 'p': aws_token stands beside credentials = \"cloud\", which \
                       takes the machine's own identity and nothing else; leave one of them out";
        assert_eq!(beside.err().unwrap().message(), message);
    }

    #[test]
    fn of_several_names_for_an_option_object_stores_own_counts() {
        let given = [("region", "a"), ("aws_region", "b"), ("AWS_REGION", "b")];
        assert_eq!(value(&options(Some(&given), &[]).unwrap(), "region"), Some("b".to_owned()));
        let given = [("endpoint_url", "2"), ("endpoint", "1"), ("aws_endpoint_url", "0")];
        let chosen = value(&options(Some(&given), &[]).unwrap(), "endpoint");
        assert!(chosen == Some("0".to_owned()) || chosen == Some("1".to_owned()), "{chosen:?}");
    }
}
