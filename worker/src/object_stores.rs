//! Object stores by location: local files, S3, Google Cloud Storage, Azure and web servers, opened
//! with the same storage profiles as stores. Inputs are read from them, outputs written to them.
//!
//! [`path`] takes apart what users write, [`hive`] names folders by values, and [`tables`] tells
//! tables from files. [`options`] sorts a profile's options, [`open`] makes stores with them,
//! [`remote`] keeps secrets out of their errors, [`limited`] bounds how long they are waited for,
//! and [`task`] is all that a task sees of them.

pub(crate) mod hive;
mod limited;
mod open;
mod options;
pub(crate) mod path;
mod remote;
mod tables;
mod task;

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc};

use datafusion::error::DataFusionError;
use keyloom_common::{Error, ErrorCode, Result, error::redact, input::Location};
use object_store::ObjectStore;
use quick_cache::sync::Cache;
use url::Url;

use self::{
    limited::limited,
    open::{Provider, open},
    options::Profile,
};
pub(crate) use self::{open::Opened, tables::Tables, task::TaskStore};
use crate::{
    access::Access,
    store::{Patience, ProfileVersion, ReadProfile, StorageProfile},
};

/// The most object stores that are kept open; beyond, the least used is forgotten.
const MAX_OPEN: usize = 256;

/// The object stores of a worker: each is opened once, as long as it is not forgotten.
pub(crate) struct ObjectStores {
    profiles: HashMap<String, StorageProfile>,
    access: Access,
    patience: Patience,
    /// With which secrets each was opened is part of what it is known by.
    open: Cache<(Location, ProfileVersion), Opened>,
}

impl ObjectStores {
    /// Stores that are opened with options by the names of their profiles.
    pub(crate) fn new(profiles: HashMap<String, StorageProfile>, patience: Patience) -> Self {
        Self { profiles, access: Access::default(), patience, open: Cache::new(MAX_OPEN) }
    }

    /// The same for jobs that may not touch everything.
    pub(crate) fn limited(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// What jobs may touch.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// How long storage is waited for.
    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    /// The object store, opened if it is not open yet. What takes a request is done with its first.
    ///
    /// # Errors
    /// `invalid` if the scheme or the profile is unknown, or an option of it; as
    /// [`StorageProfile::read`].
    pub(crate) fn get(&self, location: &Location) -> Result<Arc<dyn ObjectStore>> {
        Ok(self.opened(location)?.store)
    }

    /// The same, with the uploads to it.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) fn opened(&self, location: &Location) -> Result<Opened> {
        let name = location.profile.as_deref();
        let read = name.map(|name| self.profile(name)).transpose()?;
        let version = read.as_ref().and_then(|profile| profile.version);
        self.open.get_or_insert_with(&(location.clone(), version), || {
            let url = parse(&location.url)?;
            let profile = match (name, &read) {
                (Some(name), Some(profile)) => Profile::Named { name, profile },
                _ => Profile::Environment,
            };
            let opened = open(&url, &profile, self.patience);
            let opened = opened.map_err(|error| error.context(redact(&location.url)))?;
            let patience = match Provider::of(&url) {
                Some(Provider::Local) => self.patience.asking_once(),
                _ => self.patience,
            };
            Ok::<_, Error>(limited(opened, patience))
        })
    }

    /// Takes a store for the one at a location.
    #[cfg(test)]
    pub(crate) fn hold(&self, location: Location, opened: Opened) {
        self.open.insert((location, None), opened);
    }

    /// Whether jobs may touch what is at a path of a place, which may be one of this machine.
    ///
    /// # Errors
    /// `permission_denied`, naming the setting and the place as it was given.
    pub(crate) async fn check_any(
        &self,
        location: &Location,
        path: &str,
        given: &str,
    ) -> Result<()> {
        match self.check(location, path, given)? {
            Asked::Allowed => Ok(()),
            Asked::File => self.access.check_files(vec![local_file(path)], self.patience).await,
        }
    }

    /// Whether jobs may touch what is at a path of a place, unless that is one of this machine:
    /// then it is the path of a file, of which [`Access::check_local`] and [`Access::check_files`]
    /// know.
    ///
    /// # Errors
    /// `permission_denied`, naming the setting and the place as it was given.
    pub(crate) fn check(&self, location: &Location, path: &str, given: &str) -> Result<Asked> {
        // However it is written: a plan may come from anybody.
        let url = parse(&location.url)?;
        if Provider::of(&url) == Some(Provider::Local) {
            return Ok(Asked::File);
        }
        self.access.check_url(&url, path, given)?;
        match &location.profile {
            Some(name) if self.names_its_host(&url, name)? => {
                self.access.check_beside_profile(name, given)?;
            }
            _ => {}
        }
        Ok(Asked::Allowed)
    }

    /// Whether a URL says by itself which host is asked, and with that where the credentials of the
    /// profile beside it would go. A bucket is asked for where the profile says.
    fn names_its_host(&self, url: &Url, profile: &str) -> Result<bool> {
        match Provider::of(url) {
            Some(Provider::Http) => Ok(true),
            Some(Provider::Azure) => {
                let Some(account) = account(url) else { return Ok(false) };
                let own = self.profile(profile)?.options.into_iter().find(|(name, _)| {
                    ACCOUNT_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
                });
                Ok(own.is_none_or(|(_, own)| own != account))
            }
            _ => Ok(false),
        }
    }

    fn profile(&self, name: &str) -> Result<ReadProfile> {
        match self.profiles.get(name) {
            Some(profile) => profile.read(name),
            None => Err(unknown_profile(name, self.profiles.keys())),
        }
    }
}

/// What is known of a place that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It may be touched.
    Allowed,
    /// It is of this machine, and nothing is known of it yet.
    File,
}

/// What a profile calls the account of Azure.
const ACCOUNT_NAMES: [&str; 2] = ["azure_storage_account_name", "account_name"];

/// The account that a URL of Azure names: those that do have the container before an `@`.
fn account(url: &Url) -> Option<&str> {
    let host = url.host_str().filter(|_| !url.username().is_empty())?;
    Some(host.split('.').next().unwrap_or(host))
}

impl fmt::Debug for ObjectStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStores").field("open", &self.open.len()).finish_non_exhaustive()
    }
}

/// Whether files are of this machine.
pub(crate) fn is_local(location: &Location) -> bool {
    location.url.starts_with("file:")
}

/// A file of this machine by its path within the object store.
pub(crate) fn local_file(path: &str) -> PathBuf {
    PathBuf::from(format!("/{path}"))
}

/// An object store's error, as what the caller can do about it.
pub(crate) fn from_store(error: object_store::Error) -> Error {
    DataFusionError::from(error).into()
}

/// What an object store's error was made of, step by step.
pub(crate) fn causes(
    error: &object_store::Error,
) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| (*cause).source())
}

/// The URL of an object store that can be read.
///
/// # Errors
/// `invalid` if it is no URL, or its scheme is unknown; the message has the choices.
pub(crate) fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url)
        .map_err(|error| Error::invalid(format!("{} is no URL: {error}", redact(url))))?;
    match Provider::of(&parsed) {
        Some(_) => Ok(parsed),
        None => Err(Error::invalid(format!(
            "inputs are read from local paths, file://, s3://, gs://, az:// (also abfs:// and \
             abfss://), http:// and https://, not {}://",
            parsed.scheme()
        ))),
    }
}

fn unknown_profile<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let mut known: Vec<_> = known.map(String::as_str).collect();
    known.sort_unstable();
    let known = match known.as_slice() {
        [] => "none".to_owned(),
        known => format!("'{}'", known.join("', '")),
    };
    Error::invalid(format!("storage profile '{name}' not found; the worker has {known}"))
        .with_code(ErrorCode::StorageProfile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreSettings;

    fn location(url: &str, profile: Option<&str>) -> Location {
        Location { url: url.to_owned(), profile: profile.map(str::to_owned) }
    }

    fn stores() -> ObjectStores {
        let options = |options: &[(&str, &str)]| {
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let minio = options(&[
            ("aws_endpoint", "http://127.0.0.1:9"),
            ("aws_region", "us-east-1"),
            ("aws_access_key_id", "somebody"),
            ("aws_secret_access_key", "hunter2secret"),
            ("allow_http", "true"),
            ("client_max_retries", "0"),
            ("lance_aimd_initial_rate", "100"),
        ]);
        let no_http = options(&[("aws_endpoint", "http://127.0.0.1:9")]);
        let wrong = options(&[("aws_endpiont", "http://127.0.0.1:9")]);
        let azure =
            options(&[("account_name", "a"), ("account_key", "c2VjcmV0"), ("timeout", "5s")]);
        let google = options(&[("google_storage_token", "token"), ("headers.x-team", "data")]);
        let profiles = HashMap::from([
            ("minio".to_owned(), minio),
            ("wrong".to_owned(), wrong),
            ("no_http".to_owned(), no_http),
            ("azure".to_owned(), azure),
            ("google".to_owned(), google),
        ]);
        ObjectStores::new(profiles, Patience::of(&StoreSettings::default()))
    }

    #[test]
    fn every_scheme_is_opened_once_a_location() {
        let stores = stores();
        let cases = [
            ("file:///", None),
            ("s3://bucket/", Some("minio")),
            ("s3a://bucket/", Some("minio")),
            ("az://container/", Some("azure")),
            ("abfss://container@account.dfs.core.windows.net/", Some("azure")),
            ("gs://bucket/", Some("google")),
            ("http://127.0.0.1:9/", None),
            ("https://example.com/", None),
        ];
        for (url, profile) in cases {
            let location = location(url, profile);
            let one = stores.get(&location).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(Arc::ptr_eq(&one, &stores.get(&location).unwrap()), "{url}");
        }
        assert!(!Arc::ptr_eq(
            &stores.get(&location("s3://bucket/", Some("minio"))).unwrap(),
            &stores.get(&location("s3://other/", Some("minio"))).unwrap(),
        ));
    }

    #[test]
    fn what_is_unknown_is_refused_with_the_choices() {
        let stores = stores();
        let refused =
            |url, profile| stores.get(&location(url, profile)).unwrap_err().message().to_owned();
        assert_eq!(
            refused("hdfs://host/", None),
            "inputs are read from local paths, file://, s3://, gs://, az:// (also abfs:// and \
             abfss://), http:// and https://, not hdfs://"
        );
        assert_eq!(
            refused("s3://bucket/", Some("mino")),
            "storage profile 'mino' not found; the worker has 'azure', 'google', 'minio', 'no_http', \
             'wrong'"
        );
        assert_eq!(
            refused("file:///", Some("mino")),
            "storage profile 'mino' not found; the worker has 'azure', 'google', 'minio', 'no_http', \
             'wrong'"
        );
        assert_eq!(
            refused("s3://bucket/", Some("wrong")),
            "s3://bucket/: storage profile 'wrong': unknown option 'aws_endpiont'; known are \
             aws_endpoint, aws_region, aws_access_key_id, aws_secret_access_key, allow_http and \
             what else object_store or Lance call options of S3"
        );
        assert_eq!(
            refused("s3://bucket/", Some("no_http")),
            "s3://bucket/: the endpoint http://127.0.0.1:9 is not encrypted; allow_http = \"true\" \
             allows it"
        );
    }

    #[tokio::test]
    async fn an_endpoint_that_is_not_there_is_an_error_without_secrets() {
        use object_store::{ObjectStoreExt, path::Path};

        let stores = stores();
        let store = stores.get(&location("s3://bucket/", Some("minio"))).unwrap();
        let error = store.head(&Path::from("a")).await.unwrap_err();
        let error = from_store(error);
        assert_eq!(error.kind(), keyloom_common::ErrorKind::Store);
        let message = error.message();
        assert!(message.contains("http://127.0.0.1:9/bucket/a"), "{message}");
        assert!(message.contains("storage profile 'minio'"), "{message}");
        assert!(!message.contains("hunter2secret"), "{message}");
        assert!(!format!("{stores:?}").contains("hunter2secret"));
    }

    /// One that never takes up what the system accepts for it, as if it was stopped.
    #[tokio::test]
    async fn a_server_that_does_not_answer_is_an_error_that_names_the_file() {
        use object_store::{ObjectStoreExt, path::Path};

        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap());
        let options = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_access_key_id", "somebody"),
            ("aws_secret_access_key", "something"),
            ("allow_http", "true"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let profiles = HashMap::from([("stopped".to_owned(), options.into())]);
        let settings = StoreSettings {
            request_timeout_ms: 100,
            answer_timeout_ms: 300,
            ..StoreSettings::default()
        };
        let stores = ObjectStores::new(profiles, Patience::of(&settings));
        let store = stores.get(&location("s3://bucket/", Some("stopped"))).unwrap();
        let error = store.head(&Path::from("a/b.csv")).await.unwrap_err();
        let expected = "a/b.csv: no answer in 300 ms; the worker's store.answer_timeout_ms allows \
                        no more";
        assert_eq!(from_store(error), Error::timeout(expected));
    }
}
